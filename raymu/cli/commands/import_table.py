"""`raymu import`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, show
from raymu.cli.parameter_types import FILE, WHOLE
from raymu.data.convert import ImportOptions, import_samples
from raymu.text import one_line, plural


@click.command("import", cls=RaymuCommand, example="raymu import letters.csv --label class --out letters.parquet")
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--out", "out_file", type=FILE, required=True, help="The Parquet file to write.")
@click.option("--labels-file", type=FILE, help="For IDX: the file with the labels.")
@click.option("--features", metavar="NAME", help="For NPZ: the name of the array with the features.")
@click.option(
    "--label",
    metavar="NAME",
    help="For NPZ: the name of the array with the labels. "
    "For CSV: the name of the column, or its number: 1 for the first, -1 for the last.",
)
@click.option(
    "--id", "id_column", metavar="NAME", help="For CSV: the column with the ids. By default, rows are numbered."
)
@click.option(
    "--owner",
    "owner_column",
    metavar="NAME",
    help="For CSV: the column with the owners. By default, the one called owner, if there is one.",
)
@click.option(
    "--header/--no-header",
    "has_header",
    default=None,
    help="For CSV: whether the first line has the names of the columns. By default, this is recognised.",
)
@click.option("--first-id", type=WHOLE, default=0, show_default=True, help="The number of the first row.")
@click.option("--first-label", type=WHOLE, default=0, show_default=True, help="The lowest label, which becomes 0.")
@click.option("--classes", metavar="A,B,...", help="The labels, if they are text, in the order of their numbers.")
@click.option(
    "--columns",
    "keeps_columns",
    is_flag=True,
    help="For CSV: keep the columns as they are, with words, dates and gaps, for task: tabular.",
)
@json_option
def command(
    source: str,
    out_file: str,
    labels_file: str | None,
    features: str | None,
    label: str | None,
    id_column: str | None,
    owner_column: str | None,
    has_header: bool | None,
    first_id: int,
    first_label: int,
    classes: str | None,
    keeps_columns: bool,
    as_json: bool,
) -> None:
    """Convert IDX, NPZ or CSV data to Parquet.

    The file may be compressed with gzip. The result has the columns id, label and features, from which raymu trains;
    with --columns, the features have columns of their own.
    """
    options = ImportOptions(
        labels=labels_file,
        features=features,
        label=label,
        id=id_column,
        owner=owner_column,
        has_header=has_header,
        first_id=first_id,
        first_label=first_label,
        classes=tuple(classes.split(",")) if classes else (),
        keeps_columns=keeps_columns,
    )
    result = import_samples(source, out_file, options)
    for note in result.notes:
        click.echo(f"raymu: {one_line(source)}: {note}", err=True)
    text = f"wrote {plural(result.samples, 'sample')} of {plural(result.features, 'feature')} into {out_file}"
    if result.owner:
        text += f"; owners from column {one_line(result.owner)}: train with data.owner=owner"
    if result.classes:
        text += "; classes: " + ", ".join(f"{number} {one_line(name)}" for number, name in enumerate(result.classes))
    show(as_json, result, lambda screen: screen.print(text))
