"""Text with values between delimiters, as CSV from databases, spreadsheets and pandas."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from raymu.data.named_file import unreadable
from raymu.errors import RequestInvalid

DELIMITERS = (",", ";", "\t", "|")

_NAMED_DELIMITER = re.compile(r'"?sep=([,;\t|])"?;*,*[ ]*')
"""The first line of a file by which Excel is told the delimiter."""
_GUARDED_TEXT = re.compile(r'\s*="([^"]*)"\s*')
"""A cell as programs write it lest Excel makes a number of its text, such as 007."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DelimitedText:
    """The header and the rows. Rows of blank cells are left out."""

    names: tuple[str, ...]
    """Without the space around them; empty if the text is."""
    rows: tuple[tuple[str, ...], ...]
    """Each with as many cells as there are names."""
    lines: tuple[int, ...]
    """The line of the file in which each row ends, from 1."""


def read_delimited(source: str, text: str, *, is_known: Callable[[str], bool]) -> DelimitedText:
    """Split text into cells.

    Args:
        source: The file, for messages.
        text: Its content.
        is_known: Whether the reader looks for a column of this name. It tells which delimiter is meant.

    Raises:
        RequestInvalid: A row has other cells than the header, or a quote is open.
    """
    first, _, rest = text.partition("\n")
    skipped, delimiter = 0, None
    if match := _NAMED_DELIMITER.fullmatch(first.strip("\r ")):
        text, skipped, delimiter = rest, 1, match[1]
    try:
        records = _records(text, delimiter or _delimiter(text, is_known))
    except csv.Error as error:
        raise unreadable(source, error) from error
    if not records:
        return DelimitedText(names=(), rows=(), lines=())
    (_, header), *numbered = records
    names = [name.strip() for name in header]
    while names and not names[-1] and all(not cell.strip() for _, row in numbered for cell in row[len(names) - 1 :]):
        names.pop()  # spreadsheets write the empty columns at the right too
    rows = []
    for line, row in numbered:
        cells = row[: len(names)] if all(not cell.strip() for cell in row[len(names) :]) else row
        if len(cells) != len(names):
            raise RequestInvalid(
                f"{source}: line {line + skipped} has {len(cells)} values for {len(names)} columns; put values with commas "
                "in quotes"
            )
        rows.append(tuple(_unguarded(cell) for cell in cells))
    return DelimitedText(names=tuple(names), rows=tuple(rows), lines=tuple(line + skipped for line, _ in numbered))


def _unguarded(cell: str) -> str:
    guarded = _GUARDED_TEXT.fullmatch(cell)
    return guarded[1] if guarded else cell


def header_cells(text: str) -> dict[str, list[str]]:
    """Return the cells of the first line that is not blank, by each delimiter. Quotes around them are left out."""
    line = next((line for line in text.splitlines() if line.strip(" \t,;|")), "")
    cells = {}
    for delimiter in DELIMITERS:
        try:
            cells[delimiter] = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            cells[delimiter] = []
    return cells


def _delimiter(text: str, is_known: Callable[[str], bool]) -> str:
    """Return the delimiter by which the header has most of the names that are looked for, then most names."""
    cells = header_cells(text)
    return max(DELIMITERS, key=lambda delimiter: (sum(map(is_known, cells[delimiter])), len(cells[delimiter])))


def _records(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
