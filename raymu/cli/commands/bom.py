"""`raymu bom`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import FILE


@click.command("bom", cls=RaymuCommand, example="raymu bom runs/letter letter.cdx.json")
@run_argument
@click.argument("out", metavar="OUT", type=FILE)
@trust_option
@json_option
def command(run_dir: str, out: str, as_json: bool) -> None:
    """Write the bill of materials of the model.

    OUT is a JSON file in the form of CycloneDX 1.6 (ML-BOM). It has the served generation and its files, the data by its
    hashes, the settings, the versions of libraries, and how many samples were revoked, exactly or approximately. It names no
    sample and no owner. The same generation gives the same document. Write it again after a revocation.
    """
    bom = open_run(run_dir).bom(out)
    show(as_json, bom, lambda screen: screen.print(str(bom)))
