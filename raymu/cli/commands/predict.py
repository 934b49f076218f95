"""`raymu predict`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option, warn_of_waiting
from raymu.cli.parameter_types import FILE
from raymu.console.progress import phase_progress
from raymu.text import plural


@click.command("predict", cls=RaymuCommand, example="raymu predict runs/letter --data new.parquet --out classes.csv")
@run_argument
@click.option(
    "--data",
    "data_file",
    type=FILE,
    required=True,
    help="The table to predict: Parquet, Arrow or Feather, a file or a directory.",
)
@click.option("--out", "out_file", type=FILE, required=True, help="The Parquet or CSV file to write.")
@click.option(
    "--labels-only", is_flag=True, help="Leave out the probabilities, which reveal more about single training samples."
)
@trust_option
@json_option
def command(run_dir: str, data_file: str, out_file: str, labels_only: bool, as_json: bool) -> None:
    """Predict the targets of a table.

    The result has the class of each sample and the probabilities of all classes, the labels with their probabilities, or
    the numbers. Labels in the table are not read. The table may be of any length: it is read part after part, on Ray if
    `cluster.fleet` says so. The result appears when it is whole, and all of it comes from one generation.
    """
    run = open_run(run_dir)
    with phase_progress("rows", is_shown=not as_json) as (count, _):
        predicted = run.predict_file(data_file, out_file, labels_only=labels_only, progress=count)
    warn_of_waiting(run)
    text = f"predicted {plural(predicted.samples, 'sample')} into {out_file}"
    show(as_json, predicted, lambda screen: screen.print(text))
