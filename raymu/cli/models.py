"""Commands about data and predictions."""

from functools import partial
from pathlib import Path

import click

from raymu.api import open_run
from raymu.cli.group import cli
from raymu.cli.options import data_option, json_option, run_argument, show
from raymu.data.convert import ImportOptions, import_samples
from raymu.data.predictions import require_format, write_predictions
from raymu.data.tables import read_features
from raymu.output_file import check_output_path
from raymu.text import plural


@cli.command("import")
@click.argument("source", metavar="FILE")
@click.option("--out", "out_file", required=True, help="Parquet file to write.")
@click.option("--labels", help="For IDX: the file that has the labels.")
@click.option("--features", help="For NPZ: the array's name.")
@click.option(
    "--label", help="For NPZ the array's name; for CSV the column's name, or its place: 1, or -1 for the last."
)
@click.option("--id", "id_column", help="For CSV: the column of ids; rows are numbered where not given.")
@click.option("--first-id", type=int, default=0, show_default=True, help="Number of the first row.")
@click.option("--first-label", type=int, default=0, show_default=True, help="The lowest label, which becomes 0.")
@click.option("--classes", help="Labels that are text, in the order of their numbers, with commas between.")
@json_option
def import_command(
    source: str,
    out_file: str,
    labels: str | None,
    features: str | None,
    label: str | None,
    id_column: str | None,
    first_id: int,
    first_label: int,
    classes: str | None,
    as_json: bool,
) -> None:
    """Make the Parquet file that raymu trains from out of an IDX, NPZ or CSV file, plain or gzipped."""
    options = ImportOptions(
        labels=labels,
        features=features,
        label=label,
        id=id_column,
        first_id=first_id,
        first_label=first_label,
        classes=tuple(classes.split(",")) if classes else (),
    )
    imported = import_samples(source, out_file, options)
    what = f"wrote {plural(imported.samples, 'sample')} of {plural(imported.features, 'feature')} into {out_file}"
    show(as_json, imported, lambda screen: screen.say(what))


@cli.command("evaluate")
@run_argument
@data_option
@json_option
def evaluate_command(run_dir: str, data_file: str, as_json: bool) -> None:
    """Measure the accuracy on a table with labels."""
    evaluation = open_run(run_dir).evaluate_file(data_file)
    show(as_json, evaluation, lambda screen: screen.evaluation(evaluation))


@cli.command("predict")
@run_argument
@data_option
@click.option("--out", "out_file", required=True, help="Parquet or CSV file to write.")
@click.option("--labels-only", is_flag=True, help="Leave the probabilities out: they tell more about single samples.")
@json_option
def predict_command(run_dir: str, data_file: str, out_file: str, labels_only: bool, as_json: bool) -> None:
    """Predict a table: the class of each sample, and the probabilities of all classes."""
    require_format(out_file)
    check_output_path(out_file, reads={"the table to predict": data_file}, run=run_dir)
    run = open_run(run_dir)
    fields = run.config.data
    table = read_features(data_file, fields)
    probabilities = run.predict(table.features)
    write_predictions(out_file, probabilities, ids=table.ids, id_name=fields.id, labels_only=labels_only)
    written = {"out": out_file, "samples": len(probabilities)}
    show(
        as_json, written, lambda screen: screen.say(f"predicted {plural(len(probabilities), 'sample')} into {out_file}")
    )


@cli.command("demo")
@click.option(
    "--out", "out_dir", default="raymu-demo", show_default=True, help="Directory for the figure and the results."
)
@json_option
def demo_command(out_dir: str, as_json: bool) -> None:
    """Train on the bundled letter data, revoke with every strategy, and compare."""
    from raymu.benchmark import run_demo, show_demo  # Ray takes a second to import: only where it is used

    result = run_demo(Path(out_dir), is_shown=not as_json)
    show(as_json, result, partial(show_demo, result))
