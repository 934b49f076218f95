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
    """Show the progress of all shards in one view; with `--log`, in lines of the log.

    Args:
        shards: The number of shards of the run.
        is_shown: Whether a terminal shows the view.

    Yields:
        The listener to call with every stage.
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
    """Log a line whenever a shard is done."""
    before = progress.done
    progress(stage)
    if progress.done != before:
        log_event("progress", done=progress.done, at_work=len(progress.running), waiting=progress.waiting)


@contextmanager
def count_progress(name: str, *, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Show one bar of a count on standard error, if that is a terminal.

    Args:
        name: Name of the counted things.
        is_shown: Whether a terminal shows the bar.

    Yields:
        The function to call with the number done and the number of all.
    """
    with phase_progress(name, is_shown=is_shown) as (progress, _):
        yield progress


@contextmanager
def phase_progress(name: str, *, is_shown: bool) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Show one bar of a count on standard error, with the name of what is being done, if that is a terminal.

    Args:
        name: Name of the counted things.
        is_shown: Whether a terminal shows the bar.

    Yields:
        The function to call with the number done and the number of all, and the one to call with a phase's name.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[phase]}"),
    )
    with Progress(*columns, console=console, disable=not (is_shown and console.is_terminal), transient=True) as bars:
        task = bars.add_task(name, total=None, phase="")

        def progress(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        def phase(phase_name: str) -> None:
            bars.update(task, phase=phase_name)

        yield progress, phase
