"""`raymu predict`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option, warn_of_waiting
from raymu.cli.parameter_types import FILE
from raymu.data.predictions import require_format, write_predictions
from raymu.data.tables import read_features
from raymu.output_file import check_output_path
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
    the numbers. Labels in the table are not read.
    """
    require_format(out_file)
    check_output_path(out_file, reads={"the table to predict": data_file}, run=run_dir)
    run = open_run(run_dir)
    fields = run.config.data
    table = read_features(data_file, fields, run.manifest.input_shape, run.manifest.form)
    probabilities = run.predict(table.features)
    warn_of_waiting(run)
    write_predictions(
        out_file,
        probabilities,
        classes=run.manifest.class_table,
        target=run.config.task.target,
        ids=table.ids,
        id_name=fields.id,
        labels_only=labels_only,
    )
    text = f"predicted {plural(len(probabilities), 'sample')} into {out_file}"
    show(as_json, {"out": out_file, "samples": len(probabilities)}, lambda screen: screen.print(text))
