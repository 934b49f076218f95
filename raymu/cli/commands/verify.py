"""`raymu verify`."""

import sys

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import EXIT_CODES, json_option, keep_verdict, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import SHARD
from raymu.console.progress import stage_progress
from raymu.console.run_tables import show_verification


@click.command("verify", cls=RaymuCommand, example="raymu verify runs/letter --replay")
@run_argument
@click.option(
    "--replay", is_flag=True, help="Train the shards again without the revoked samples, and compare them bit for bit."
)
@click.option(
    "--shard", "shards", metavar="SHARD", multiple=True, type=SHARD, help="Replay only this shard. Repeat it for more."
)
@click.option(
    "--anchor", metavar="ANCHOR", help="What an earlier verification printed: shows whether the run was rolled back."
)
@click.option(
    "--accept-rollback",
    is_flag=True,
    help="The run was put back to an older copy on purpose: compare it with this copy from now on.",
)
@trust_option
@json_option
def command(
    run_dir: str, replay: bool, shards: tuple[int, ...], anchor: str | None, accept_rollback: bool, as_json: bool
) -> None:
    """Check a run from its files alone.

    The journal, the receipts, every file, the lineage of what is served and the purge are checked. Only the verdict is
    written into the run, with its time, for metrics and pages. What is wrong is named with the command that mends it.

    Exit code 0: pass; 1: fail; 3: inconclusive.
    """
    run = open_run(run_dir)
    chosen = shards or None
    if accept_rollback:
        run.accept_rollback()
    with stage_progress(is_shown=bool(replay or shards) and not as_json) as progress:
        verification = run.verify(replay=chosen if replay or shards else (), anchor=anchor, progress=progress)
    keep_verdict(run, verification)
    show(as_json, verification, lambda screen: show_verification(screen, verification))
    sys.exit(EXIT_CODES[verification.verdict])
