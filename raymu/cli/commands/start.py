"""`raymu start`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import address_option, json_option, open_run, run_argument, show, take_over_option, trust_option


@click.command("start", cls=RaymuCommand, example="raymu start runs/letter")
@run_argument
@trust_option
@address_option
@take_over_option
@json_option
def command(run_dir: str, address: str | None, as_json: bool) -> None:
    """Start a coordinator that stays up.

    It serves all later commands on the run, and settles requests before they are due, until you run `raymu stop`.
    """
    was_up = open_run(run_dir, address=address).start()
    text = f"a coordinator of {run_dir} is up already" if was_up else f"started a coordinator of {run_dir}"
    show(as_json, {"run": run_dir, "is_up": True, "was_up": was_up}, lambda screen: screen.print(text))
