"""Live views of progress, on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from raymu.console.fleet_progress import FleetProgress
from raymu.console.fleet_view import FleetView
from raymu.service.event_log import is_logged, log_event
from raymu.service.shard.messages import Progress as Listener
from raymu.service.shard.messages import StageProgress


@contextmanager
def stage_progress(*, shards: int, is_shown: bool) -> Iterator[Listener]:
    """All shards in one view while the context lasts; with a log, lines in it; nothing where it is not wanted.

    shards: of the run
    """
    console, progress = Console(stderr=True), FleetProgress(time.monotonic)
    if is_logged():
        yield partial(_log_progress, progress)
    elif is_shown and console.is_terminal:
        with Live(FleetView(progress, shards=shards), console=console, transient=True):
            yield progress
    else:
        yield progress


def _log_progress(progress: FleetProgress, stage: StageProgress) -> None:
    """A line for each shard that is done."""
    before = progress.done
    progress(stage)
    if progress.done != before:
        log_event("progress", done=progress.done, at_work=len(progress.at_work), waiting=progress.waiting)


@contextmanager
def trial_progress(what: str, *, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """One bar on standard error for so many of so many; nothing where it is not wanted, or on no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not (is_shown and console.is_terminal), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
