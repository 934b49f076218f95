"""`raymu extend`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import (
    address_option,
    json_option,
    open_run,
    printing_after_commit,
    run_argument,
    show,
    take_over_option,
    trust_option,
)
from raymu.cli.parameter_types import FILE
from raymu.cli.work_progress import work_progress
from raymu.console.run_tables import show_extension
from raymu.text import one_line


@click.command("extend", cls=RaymuCommand, example="raymu extend runs/letter --data new.parquet")
@run_argument
@click.option(
    "--data",
    "data_files",
    type=FILE,
    multiple=True,
    required=True,
    help="The new samples: Parquet, Arrow or Feather, a file or a directory. Repeat it for more.",
)
@click.option(
    "--slices", type=int, default=1, show_default=True, help="The slices that the samples become in each shard."
)
@click.option("--epochs", type=int, help="The epochs of each new stage; by default those of the last stage.")
@click.option(
    "--ignore-revoked",
    is_flag=True,
    help="Leave out samples that the run revoked, by id or by owner, instead of refusing the table.",
)
@trust_option
@address_option
@take_over_option
@json_option
def command(
    run_dir: str,
    data_files: tuple[str, ...],
    slices: int,
    epochs: int | None,
    ignore_revoked: bool,
    address: str | None,
    as_json: bool,
) -> None:
    """Add samples to a run, as further slices.

    The new stages are trained, and nothing earlier is trained again. The table has the columns of the training data, and new
    ids. Shards that were only patched become exact.
    """
    with (
        open_run(run_dir, address=address) as run,
        work_progress(is_shown=not as_json) as progress,
    ):
        report = run.extend(data_files, slices=slices, epochs=epochs, ignore_revoked=ignore_revoked, progress=progress)
    with printing_after_commit("`raymu status`"):
        for line in report.conversions:
            click.echo(f"raymu: {one_line(line)}", err=True)
        show(as_json, report, lambda screen: show_extension(screen, report))
