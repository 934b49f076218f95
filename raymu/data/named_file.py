"""A file that a user names, or standard input, and what it holds by its first bytes, whatever it is called."""

import re
import sys
from dataclasses import dataclass

from raymu.data.table_formats import ENDINGS, TableFormat, format_of
from raymu.errors import RequestInvalid
from raymu.input_file import LARGEST_PIPE, read_input
from raymu.text import one_line

STANDARD_INPUT = "-"
"""In place of a path."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_OTHERS = {
    b"PK\x03\x04": "an Excel workbook or an archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "compressed; unpack it first",
    b"BZh": "compressed; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed; unpack it first",
    b"SQLite format 3\x00": "an SQLite database; export the table as CSV",
    b"%PDF": "a PDF; export the table as CSV",
    b"ORC": "an ORC file; write it as Parquet",
}
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFile:
    """The content of a file."""

    name: str
    """The path as the user gave it, or "standard input"."""
    content: bytes
    format: TableFormat | None
    """None if it is not a binary table, but text."""

    def text(self) -> tuple[str, str]:
        """Return the file as text, and what was concluded about its encoding; "" if nothing had to be.

        Raises RequestInvalid if it is not text.
        """
        try:
            text, note = decoded(self.content)
        except ValueError as error:
            raise unreadable(self.name, error) from error
        if _CONTROL.search(text):
            raise unreadable(self.name, "it has control characters")
        return text, note


def read_named_file(path: str) -> NamedFile:
    """Read a file; `-` is standard input. Raises RequestInvalid."""
    name = "standard input" if path == STANDARD_INPUT else path
    try:
        content = _standard_input() if path == STANDARD_INPUT else read_input(path)
    except (OSError, ValueError, AttributeError) as error:  # ValueError: a zero byte; AttributeError: no standard input
        raise unreadable(name, error) from error
    for magic, what in _OTHERS.items():
        if content.startswith(magic):
            raise unreadable(name, f"it is {what}")
    kind = format_of(content)
    if kind is None and name.lower().endswith(ENDINGS):
        raise unreadable(name, "it is not what its name says")
    return NamedFile(name=name, content=content, format=kind)


def unreadable(name: str, reason: object) -> RequestInvalid:
    """Return the error for a file that cannot be read, with the reason."""
    return RequestInvalid(f"{name}: cannot be read ({one_line(reason)}); give text, CSV or Parquet")


def _standard_input() -> bytes:
    content = sys.stdin.buffer.read(LARGEST_PIPE + 1)
    if len(content) > LARGEST_PIPE:
        raise OSError(f"it is larger than {LARGEST_PIPE:,} bytes")
    return content


def decoded(content: bytes) -> tuple[str, str]:
    """Decode UTF-8, UTF-16 and UTF-32, with or without a byte order mark, and Windows-1252. Raises ValueError."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding), ""
    if b"\0" in content:  # in UTF-16, every second byte of Latin text
        zeros = [content[start::2].count(0) for start in (0, 1)]
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        if min(zeros) or 2 * max(zeros) < len(content) // 2:
            raise ValueError("it is not text")
        return content.decode(encoding), ""
    try:
        return content.decode(), ""
    except UnicodeDecodeError as error:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            raise error from None
        return text, "is not UTF-8, and was read as Windows-1252, as spreadsheets write"
