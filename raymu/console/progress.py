"""Live views of progress, on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from raymu.console.fleet_progress import FleetProgress
from raymu.console.fleet_view import FleetView
from raymu.service.logs import is_logged
from raymu.service.work import Progress as Listener


@contextmanager
def stage_progress(*, is_shown: bool) -> Iterator[Listener]:
    """All shards in one view while the context lasts; nothing where it is not wanted, on no terminal, or with a log."""
    console, progress = Console(stderr=True), FleetProgress(time.monotonic)
    if not (is_shown and console.is_terminal) or is_logged():
        yield progress
        return
    with Live(FleetView(progress), console=console, transient=True):
        yield progress


@contextmanager
def trial_progress(what: str, *, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """One bar on standard error for so many of so many; nothing where it is not wanted, or on no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not (is_shown and console.is_terminal), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
