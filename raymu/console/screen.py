"""Standard output, and what all tables on it have in common."""

from collections.abc import Collection

from rich.console import Console
from rich.text import Text

from raymu.console.table import ResultTable, escaped
from raymu.core.verdict import Verdict

_PIPE_COLUMNS = 140
"""Width of tables in a file or a pipe, which has no width of its own."""
_VERDICT_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}
LATE_STYLE = "bold red"


class Screen:
    """Print tables and lines on standard output, as wide as the terminal."""

    def __init__(self, console: Console | None = None) -> None:
        """Print on a console. By default that is standard output."""
        width = None if Console().is_terminal else _PIPE_COLUMNS
        # A name that a person chose can look like markup, and has to be shown as it is.
        self._console = console or Console(width=width, markup=False, emoji=False, highlight=False)

    def print(self, content: str | Text | ResultTable) -> None:
        """Print text or a table, wrapped at the width of the terminal."""
        self._console.print(content if isinstance(content, ResultTable) else escaped(content))

    def print_unwrapped(self, text: str) -> None:
        """Print text in one piece, to be copied."""
        self._console.print(escaped(text), soft_wrap=True)


def make_table(
    *headings: str,
    numbers: Collection[str] = (),
    unbroken: Collection[str] = (),
    shortened: Collection[str] = (),
    optional: Collection[str] = (),
    title: str | None = None,
) -> ResultTable:
    """Make an empty table.

    Args:
        headings: The headings of the columns.
        numbers: The headings of columns of numbers, which are aligned to the right and never broken.
        unbroken: The headings of other columns whose cells are never broken.
        shortened: The headings of columns of names, which are shortened on a narrow terminal as far as they stay different.
        optional: The headings of columns that may be left out on a narrow terminal, the last one first.
        title: A line above the table.
    """
    return ResultTable(
        headings, numbers=numbers, unbroken=unbroken, shortened=shortened, optional=optional, title=title
    )


def verdict_text(verdict: Verdict) -> Text:
    """Return a verdict in its colour."""
    return Text(verdict, style=_VERDICT_STYLES[verdict])
