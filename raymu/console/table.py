"""Tables that never break a number or a word: where the terminal is too narrow for one, its rows become lists."""

import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from raymu.text import printable, short_names

_EDGES = 2
"""Columns of the terminal that a table's two edges take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """The least widths that a table may have."""

    gap: int
    """Columns of the terminal between two columns of the table: 1 or 2."""
    least_text: int
    """Width that a column of sentences has at least, so that it is not a tower of single words."""


_LAYOUTS = (_Layout(gap=2, least_text=14), _Layout(gap=1, least_text=14), _Layout(gap=1, least_text=1))
"""In the order in which they are tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """A column, and what its cells are."""

    heading: str
    is_number: bool
    """Whether it is aligned to the right, and never broken."""
    is_unbroken: bool
    """Whether its cells are never broken between words either."""
    is_shortened: bool
    """Whether its cells are names that may be shortened as long as they stay different."""
    is_optional: bool
    """Whether it may be left out where the table would not fit otherwise."""


def escaped(content: str | Text) -> Text:
    """Return text of one line in which no name of a run, a file, a column or a class does anything to the terminal."""
    if isinstance(content, Text) and content.plain.isprintable():
        return content
    return Text(printable(str(content)), style=content.style if isinstance(content, Text) else "")


class ResultTable:
    """Rows under headings, as a table or as a list for each row."""

    def __init__(
        self,
        headings: Sequence[str],
        *,
        numbers: Collection[str] = (),
        unbroken: Collection[str] = (),
        shortened: Collection[str] = (),
        optional: Collection[str] = (),
        title: str | None = None,
    ) -> None:
        """Make an empty table. The arguments are those of `make_table`."""
        self._columns = [
            _Column(
                heading=heading,
                is_number=heading in numbers,
                is_unbroken=heading in numbers or heading in unbroken or heading in shortened,
                is_shortened=heading in shortened,
                is_optional=heading in optional,
            )
            for heading in headings
        ]
        self._rows: list[tuple[Text, ...]] = []
        self._title = title
        self.caption: str | None = None
        """A line below the table."""

    def add_row(self, *cells: str | Text) -> None:
        """Add a row with a cell for each column."""
        self._rows.append(tuple(map(escaped, cells)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, the table or the lists, and the caption."""
        if self._title:
            yield Text(self._title, style="bold")
        yield from self._fitted(options.max_width) or [Text("\n").join(self._lists())]
        if self.caption:
            yield Text(self.caption, style="dim")

    def _fitted(self, width: int) -> list[RenderableType]:
        """Return the table with the longest names and the most columns that fit; nothing if it does not fit at all."""
        optional = [number for number, column in enumerate(self._columns) if column.is_optional]
        for left_out in range(len(optional) + 1):
            gone = optional[len(optional) - left_out :]
            kept = [number for number in range(len(self._columns)) if number not in gone]
            for rows, layout in product((self._rows, self._shortened_rows()), _LAYOUTS):
                widths = self._widths(rows, kept, layout, width)
                if widths:
                    names = ", ".join(self._columns[number].heading for number in gone)
                    note = [Text(f"left out, as the terminal is narrow: {names}; --json has all", style="dim")]
                    return [self._table(rows, kept, widths, layout), *(note if gone else ())]
        return []

    def _shortened_rows(self) -> list[tuple[Text, ...]]:
        rows = [list(row) for row in self._rows]
        for number, column in enumerate(self._columns):
            if column.is_shortened:
                short = short_names(row[number].plain for row in rows)
                for row in rows:
                    row[number] = Text(short[row[number].plain], style=row[number].style)
        return [tuple(row) for row in rows]

    def _widths(self, rows: Sequence[Sequence[Text]], kept: Sequence[int], layout: _Layout, width: int) -> list[int]:
        """Return the width of each column that is kept; nothing if a number or a word would be broken."""
        least, most = [], []
        for number in kept:
            column, cells = self._columns[number], [row[number] for row in rows]
            longest = max((cell.cell_len for cell in cells), default=0)
            words = [column.heading, *([] if column.is_unbroken else [cell.plain for cell in cells])]
            needed = max((Text(word).cell_len for text in words for word in text.split()), default=0)
            least.append(max(needed, longest if column.is_unbroken else min(longest, layout.least_text)))
            most.append(max(least[-1], longest, Text(column.heading).cell_len))
        spare = width - _EDGES - layout.gap * (len(least) - 1) - sum(least)
        if spare < 0:
            return []
        widths = least
        while spare and widths != most:  # to the column that lacks most
            lack = [upper - lower for lower, upper in zip(widths, most, strict=True)]
            widths[lack.index(max(lack))] += 1
            spare -= 1
        return widths

    def _table(
        self, rows: Sequence[Sequence[Text]], kept: Sequence[int], widths: Sequence[int], layout: _Layout
    ) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, layout.gap - 1, 0, 0), pad_edge=False)
        for number, width in zip(kept, widths, strict=True):
            column = self._columns[number]
            heading = "\n".join(textwrap.wrap(column.heading, max(width, 1), break_long_words=False))
            justify: JustifyMethod = "right" if column.is_number else "left"
            table.add_column(heading, width=width, justify=justify, no_wrap=column.is_unbroken)
        for row in rows:
            table.add_row(*(row[number] for number in kept))
        return table

    def _lists(self) -> Iterator[Text]:
        """Yield a line for each cell that is not empty, with an empty line after each row."""
        for row in self._rows:
            for column, cell in zip(self._columns, row, strict=True):
                if cell.plain:
                    yield Text.assemble(f"{column.heading}: " if column.heading else "", cell)
            yield Text("")
