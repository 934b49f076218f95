"""`raymu sign`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import FILE


@click.command("sign", cls=RaymuCommand, example="raymu sign runs/letter letter.sig")
@run_argument
@click.argument("out", metavar="OUT", type=FILE)
@trust_option
@json_option
def command(run_dir: str, out: str, as_json: bool) -> None:
    """Sign the served generation for others.

    OUT is a file that ends in .sig. The public key is written beside it, with the ending .pem. Whoever has the run's files
    checks them with model_signing (OpenSSF Model Signing), without raymu. Sign again after a revocation: another generation
    is served then.
    """
    signature = open_run(run_dir).sign(out)
    show(as_json, signature, lambda screen: screen.print(str(signature)))
