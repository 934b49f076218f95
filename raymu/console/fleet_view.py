"""The progress of all shards, drawn within the height and the width of a terminal."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raymu.console.fleet_progress import FleetProgress, ShardProgress, clock_text, counts_line

_MIN_MEASURE_COLUMNS, _MIN_SPEED_COLUMNS, _MIN_BAR_COLUMNS = 110, 72, 44
"""Widths below which a line leaves out the losses, the speed, and the bar."""
_MAX_BAR_COLUMNS = 40
_OTHER_LINES = 3
"""Lines that show no shard: the bar of all shards, the counts, and the line of the cursor."""


class FleetView:
    """Draw a bar of all shards, a line for as many running shards as fit, and the counts."""

    def __init__(self, progress: FleetProgress) -> None:
        """Draw the progress whenever the console refreshes."""
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the view."""
        progress, width = self._progress, options.max_width
        if not progress.shards:
            yield _line(f"{progress.phase}: {clock_text(progress.phase_s)}")
            return
        running = progress.running
        room = max(0, console.size.height - _OTHER_LINES)
        shown = running if len(running) <= room else running[: max(0, room - 1)]
        table = _grid(width)
        done = f"{progress.done} of {progress.shards} shards"
        table.add_row(*_row("all", progress.fraction, done, progress.passes_per_s, width))
        for shard in shown:
            table.add_row(*_shard_row(shard, width))
        yield table
        if len(shown) < len(running) and room:
            yield _line(f"and {len(running) - len(shown)} more running")
        yield _line(counts_line(progress))


def _grid(width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis")
    if width >= _MIN_BAR_COLUMNS:
        table.add_column(width=min(_MAX_BAR_COLUMNS, width // 3))
    table.add_column(no_wrap=True, overflow="ellipsis", justify="right")
    if width >= _MIN_SPEED_COLUMNS:
        table.add_column(no_wrap=True, justify="right")
    if width >= _MIN_MEASURE_COLUMNS:
        table.add_column(no_wrap=True, overflow="ellipsis")
    return table


def _shard_row(shard: ShardProgress, width: int) -> Iterator[Text | ProgressBar]:
    done = f"{shard.done} of {shard.stages} stages" if shard.stages else "begun"
    name = f"shard {shard.shard} {shard.remedy}".rstrip()
    return _row(name, shard.fraction, done, shard.passes_per_s, width, measured=shard.measured)


def _row(
    name: str, fraction: float, done: str, passes_per_s: float, width: int, *, measured: str = ""
) -> Iterator[Text | ProgressBar]:
    yield Text(name)
    if width >= _MIN_BAR_COLUMNS:
        yield ProgressBar(total=1.0, completed=fraction)
    yield Text(done)
    if width >= _MIN_SPEED_COLUMNS:
        yield Text(f"{passes_per_s:,.0f} passes/s" if passes_per_s else "")
    if width >= _MIN_MEASURE_COLUMNS:
        yield Text(measured)


def _line(text: str) -> Text:
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")
