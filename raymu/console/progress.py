"""Live views of progress, on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.live import Live

from raymu.console.count_view import CountView
from raymu.console.fleet_progress import FleetProgress
from raymu.console.fleet_view import FleetView
from raymu.service.event_log import is_logged, log_event
from raymu.service.phase import phases_heard_by
from raymu.service.shard.messages import Progress as Listener
from raymu.service.shard.messages import StageProgress


@contextmanager
def stage_progress(*, is_shown: bool) -> Iterator[Listener]:
    """Show the progress of all shards in one view; with `--log`, in lines of the log.

    Args:
        is_shown: Whether a terminal shows the view.

    Yields:
        The listener to call with every stage.
    """
    console, progress = Console(stderr=True), FleetProgress(time.monotonic)
    with phases_heard_by(progress.begin_phase):
        if is_logged():
            yield partial(_log_progress, progress)
        elif is_shown and console.is_terminal:
            with Live(FleetView(progress), console=console, transient=True):
                yield progress
        else:
            yield progress


def _log_progress(progress: FleetProgress, stage: StageProgress) -> None:
    """Log a line whenever a shard is done."""
    before = progress.done
    progress(stage)
    if progress.done != before:
        log_event("progress", done=progress.done, at_work=len(progress.running), waiting=progress.waiting)


@contextmanager
def phase_progress(name: str, *, is_shown: bool) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Show what is being done on standard error, if that is a terminal, and a bar once there is something to count.

    The clock starts again when the counting does: start-up is no work.

    Args:
        name: Name of the counted things.
        is_shown: Whether a terminal shows it.

    Yields:
        The function to call with the number done and the number of all, and the one to call with a phase's name.
    """
    console = Console(stderr=True)
    view = CountView(name, time.monotonic)
    with phases_heard_by(view.begin_setup):
        if is_shown and console.is_terminal and not is_logged():
            with Live(view, console=console, transient=True):
                yield view.count, view.begin_phase
        else:
            yield view.count, view.begin_phase
