"""`raymu upgrade`."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

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
from raymu.cli.work_progress import work_progress

if TYPE_CHECKING:
    from raymu.console.screen import Screen
    from raymu.service.upgrade import RunUpgrade


@click.command("upgrade", cls=RaymuCommand, example="raymu upgrade runs/letter --check")
@run_argument
@click.option("--check", "is_checked", is_flag=True, help="Write nothing: say what would be done.")
@trust_option
@address_option
@take_over_option
@json_option
def command(run_dir: str, is_checked: bool, address: str | None, as_json: bool) -> None:
    """Write an earlier version's run as this one.

    Earlier versions' runs work without it. Afterwards they open quicker, and more of them is checked. Every file is compared
    with its hash first, and restored as by `raymu rebuild`. It may be interrupted at any point, and repeated.

    With --check, exit code 0: there is nothing to do; 1: there is.
    """
    with open_run(run_dir, address=address) as run:
        if is_checked:
            upgrade = run.pending_upgrade()
        else:
            with work_progress(is_shown=not as_json) as progress:
                upgrade = run.upgrade(progress=progress)
    with printing_after_commit("`raymu upgrade --check`"):
        show(
            as_json, {"schema": "raymu.upgrade", **asdict(upgrade)}, lambda screen: _print(screen, upgrade, is_checked)
        )
    sys.exit(1 if is_checked and upgrade.steps else 0)


def _print(screen: "Screen", upgrade: "RunUpgrade", is_checked: bool) -> None:
    done = "would be done" if is_checked else "done"
    for step in upgrade.steps:
        screen.print(f"{done}: {step.what}")
    if not upgrade.steps:
        screen.print("nothing is to be done: the run is stored as this version stores it")
    for line in upgrade.kept:
        screen.print(f"kept: {line}")
