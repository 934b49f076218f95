"""`raymu rebuild`."""

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
from raymu.console.run_tables import show_rebuild


@click.command("rebuild", cls=RaymuCommand, example="raymu rebuild runs/letter --training-data letter.parquet")
@run_argument
@click.option(
    "--training-data",
    type=FILE,
    multiple=True,
    help="The file or directory that the run was trained from, if samples are lost. Repeat it for the data of each "
    "`raymu extend`.",
)
@trust_option
@address_option
@take_over_option
@json_option
def command(run_dir: str, training_data: tuple[str, ...], address: str | None, as_json: bool) -> None:
    """Restore missing or damaged files of a run.

    Samples are restored from the training data. Checkpoints are trained again from the last one that is intact.
    """
    with (
        open_run(run_dir, address=address) as run,
        work_progress(is_shown=not as_json) as progress,
    ):
        report = run.rebuild(data="\n".join(training_data) or None, progress=progress)
    with printing_after_commit("`raymu status`"):
        show(as_json, report, lambda screen: show_rebuild(screen, report))
