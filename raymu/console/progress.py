"""Progress bars on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from raymu.service.work import Progress as Listener
from raymu.service.work import StageTrained

_MOST_BARS = 24
"""More shards than this share one bar: a screen holds no more."""


class _Bars:
    """One bar per shard at work, in stages."""

    def __init__(self, bars: Progress, shards: int) -> None:
        self._bars = bars
        self._tasks: dict[int, TaskID] = {}
        self._all = bars.add_task("all shards", total=None) if shards > _MOST_BARS else None

    def __call__(self, stage: StageTrained) -> None:
        if self._all is not None:
            self._bars.advance(self._all)
            return
        if stage.shard not in self._tasks:
            what = stage.remedy or "train"
            self._tasks[stage.shard] = self._bars.add_task(f"shard {stage.shard}: {what}", total=stage.stages)
        self._bars.advance(self._tasks[stage.shard])


@contextmanager
def stage_progress(*, shards: int, is_shown: bool) -> Iterator[Listener]:
    """Progress bars on standard error while the context lasts; nothing where they are not wanted, or on no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("stages"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not (is_shown and console.is_terminal), transient=True) as bars:
        yield _Bars(bars, shards)


@contextmanager
def trial_progress(what: str, *, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """One bar on standard error for so many of so many; nothing where it is not wanted, or on no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not (is_shown and console.is_terminal), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
