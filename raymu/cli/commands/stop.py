"""`raymu stop`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import address_option, json_option, open_run, run_argument, show, trust_option


@click.command("stop", cls=RaymuCommand, example="raymu stop runs/letter")
@run_argument
@trust_option
@address_option
@json_option
def command(run_dir: str, address: str | None, as_json: bool) -> None:
    """Stop the coordinator that stays up.

    Its workers stop too. From then on, settle the run yourself before requests are due.
    """
    was_up = open_run(run_dir, address=address).stop()
    text = f"stopped the coordinator of {run_dir}" if was_up else f"no coordinator of {run_dir} was up on this cluster"
    show(as_json, {"run": run_dir, "is_up": False, "was_up": was_up}, lambda screen: screen.print(text))
