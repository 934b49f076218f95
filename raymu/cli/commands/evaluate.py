"""`raymu evaluate`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option, warn_of_waiting
from raymu.cli.parameter_types import FILE
from raymu.console.progress import phase_progress
from raymu.console.run_tables import show_evaluation


@click.command("evaluate", cls=RaymuCommand, example="raymu evaluate runs/letter --test-data test.parquet")
@run_argument
@click.option(
    "--test-data", type=FILE, required=True, help="A labelled table: Parquet, Arrow or Feather, a file or a directory."
)
@trust_option
@json_option
def command(run_dir: str, test_data: str, as_json: bool) -> None:
    """Measure the accuracy on labelled data."""
    run = open_run(run_dir)
    with phase_progress("rows", is_shown=not as_json) as (count, _):
        evaluation = run.evaluate_file(test_data, progress=count)
    warn_of_waiting(run)
    show(as_json, evaluation, lambda screen: show_evaluation(screen, evaluation))
