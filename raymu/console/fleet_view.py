"""All shards' progress, drawn within the height and the width of a terminal."""

from collections.abc import Iterator
from datetime import timedelta

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raymu.console.fleet_progress import FleetProgress, ShardProgress

_NARROW, _NARROWEST = 72, 44
"""Columns below which a line leaves its speed out, and its bar."""
_LONGEST_BAR = 40
_OTHER_LINES = 3
"""Beside those of shards: the bar of all, the counts, and the one that the cursor stands in."""


class FleetView:
    """A bar of all shards, a line for each that is at work, as many as fit, and how many wait and are done."""

    def __init__(self, progress: FleetProgress, *, shards: int) -> None:
        """shards: of the run, of which some may have nothing to do"""
        self._progress, self._shards = progress, shards

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress, width = self._progress, options.max_width
        if not progress.shards:
            yield _line(f"{_time(progress.elapsed_s)}: no stage of {self._shards} shards is done yet")
            return
        at_work = progress.at_work
        room = max(0, console.size.height - _OTHER_LINES)
        shown = at_work if len(at_work) <= room else at_work[: max(0, room - 1)]
        table = _grid(width)
        of_all = f"{progress.done} of {progress.shards} shards"
        table.add_row(*_row("all", progress.fraction, of_all, progress.passes_per_s, width))
        for one in shown:
            table.add_row(*_of_shard(one, width))
        yield table
        if len(shown) < len(at_work) and room:
            yield _line(f"and {len(at_work) - len(shown)} more at work")
        yield _line(_counts(progress))


def _counts(progress: FleetProgress) -> str:
    """What matters most comes first: a narrow terminal shows no more."""
    remaining_s = progress.remaining_s
    left = f"about {_time(remaining_s)} left after" if remaining_s else "after"
    at_work = len(progress.at_work)
    return f"{left} {_time(progress.elapsed_s)}: {at_work} at work, {progress.waiting} waiting, {progress.done} done"


def _grid(width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis")
    if width >= _NARROWEST:
        table.add_column(width=min(_LONGEST_BAR, width // 3))
    table.add_column(no_wrap=True, overflow="ellipsis", justify="right")
    if width >= _NARROW:
        table.add_column(no_wrap=True, justify="right")
    return table


def _of_shard(one: ShardProgress, width: int) -> Iterator[Text | ProgressBar]:
    how_far = f"{one.done} of {one.stages} stages" if one.stages else "begun"
    return _row(f"shard {one.shard} {one.remedy}".rstrip(), one.fraction, how_far, one.passes_per_s, width)


def _row(name: str, fraction: float, how_far: str, passes_per_s: float, width: int) -> Iterator[Text | ProgressBar]:
    yield Text(name)
    if width >= _NARROWEST:
        yield ProgressBar(total=1.0, completed=fraction)
    yield Text(how_far)
    if width >= _NARROW:
        yield Text(f"{passes_per_s:,.0f} passes/s" if passes_per_s else "")


def _line(text: str) -> Text:
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
