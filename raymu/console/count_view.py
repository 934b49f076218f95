"""The progress of work that is counted, such as models and trials, in one line of a terminal."""

from collections.abc import Callable
from datetime import timedelta

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_MAX_BAR_COLUMNS, _MIN_BAR_COLUMNS = 30, 6
"""Most and fewest columns of the bar. It makes room for the text, and is left out where it would be shorter."""


class CountView:
    """Draw the phase, and a bar of the count once there is one."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        """Begin with the phase of starting.

        Args:
            name: Name of the counted things.
            clock: Returns seconds since any fixed time.
        """
        self._name, self._clock = name, clock
        self._phase, self._began_s = "starting", clock()
        self._done, self._total = 0, 0

    def begin_setup(self, name: str) -> None:
        """Take up a phase before or after the counted work. Meanwhile the phases of its parts would only flicker."""
        if not self._total:
            self._began_s = self._clock()
        if self._done >= self._total:
            self._phase = name

    def begin_phase(self, name: str) -> None:
        """Take up a phase of the counted work."""
        self._phase = name

    def count(self, done: int, total: int) -> None:
        """Take up how many of all are done. The first call starts the clock."""
        if not self._total:
            self._began_s, self._phase = self._clock(), ""
        self._done, self._total = done, total

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the line."""
        elapsed = timedelta(seconds=int(self._clock() - self._began_s))
        if not self._total:
            yield Text(f"{self._phase}: {elapsed}", no_wrap=True, overflow="ellipsis")
            return
        text = (
            f"{self._done:,} of {self._total:,} {self._name} after {elapsed}{f': {self._phase}' if self._phase else ''}"
        )
        room = options.max_width - Text(text).cell_len - 1
        if room < _MIN_BAR_COLUMNS:
            yield Text(text, no_wrap=True, overflow="ellipsis")
            return
        line = Table.grid(padding=(0, 1))
        line.add_column(width=min(room, _MAX_BAR_COLUMNS))
        line.add_column(no_wrap=True)
        line.add_row(ProgressBar(total=self._total, completed=self._done), Text(text))
        yield line
