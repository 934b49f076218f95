"""`raymu settle`."""

from datetime import timedelta

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
from raymu.cli.parameter_types import DURATION, SHARD
from raymu.cli.work_progress import work_progress
from raymu.console.run_tables import show_settlement


@click.command("settle", cls=RaymuCommand, example="raymu settle runs/letter --due-within 7d")
@run_argument
@click.option("--due-within", type=DURATION, help="Settle only requests that are due by then, such as 7d, 12h or 30m.")
@click.option(
    "--drop-shard",
    type=SHARD,
    metavar="SHARD",
    help="Give up a shard that cannot be repaired: revoke all of its samples. It abstains for good.",
)
@click.option(
    "--publish",
    is_flag=True,
    help="Make the repaired states visible that wait for their group, however small it is (unlearning.publish).",
)
@trust_option
@address_option
@take_over_option
@json_option
def command(
    run_dir: str,
    due_within: timedelta | None,
    drop_shard: int | None,
    publish: bool,
    address: str | None,
    as_json: bool,
) -> None:
    """Retrain the shards that were only patched.

    Their requests are exact afterwards. Requests and trainings that were interrupted are finished too.
    """
    with (
        open_run(run_dir, address=address) as run,
        work_progress(is_shown=not as_json) as progress,
    ):
        if drop_shard is not None:
            run.drop_shard(drop_shard, progress=progress)
            click.echo(
                f"raymu: shard {drop_shard} is given up: all of its samples are revoked, and it abstains", err=True
            )
        report = run.settle(due_within=due_within, publish=publish, progress=progress)
    with printing_after_commit("`raymu status`"):
        show(as_json, report, lambda screen: show_settlement(screen, report))
