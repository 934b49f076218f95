"""`raymu demo`."""

from functools import partial
from pathlib import Path

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, show
from raymu.cli.parameter_types import DIRECTORY


@click.command("demo", cls=RaymuCommand, example="raymu demo")
@click.option(
    "--out",
    "out_dir",
    type=DIRECTORY,
    default="raymu-demo",
    show_default=True,
    help="The folder for the figure and the results.",
)
@json_option
def command(out_dir: str, as_json: bool) -> None:
    """Compare all strategies on bundled data.

    A run is trained on the Letter Recognition data on Ray, and samples are revoked with every strategy. This takes about
    two minutes on two cores.
    """
    from raymu.benchmark import run_demo, show_demo  # they import Ray

    result = run_demo(Path(out_dir), is_shown=not as_json)
    show(as_json, result, partial(show_demo, result))
