"""Numbers, times and text as the page shows them."""

import re
from datetime import UTC, datetime

from markupsafe import Markup

_DIGEST_LETTERS = 12
"""Enough for the eye to distinguish hashes."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def count(number: float) -> str:
    """Format a count: 16000 as 16,000."""
    return f"{number:,.0f}"


def share(fraction: float) -> str:
    """Format a fraction: 0.9075 as 90.75%."""
    return f"{fraction:.2%}"


def compact(number: float) -> str:
    """Format a round number on an axis: 5, 100, 10k, 1M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{number:,g}"


def brief(seconds: float) -> str:
    """Format a round duration on an axis: 10 ms, 100 s."""
    return f"{1000 * seconds:g} ms" if seconds < 1.0 else f"{seconds:,g} s"


def moment(at: datetime) -> Markup:
    """Format a time to the second, in UTC."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="milliseconds"), utc.strftime("%Y-%m-%d %H:%M:%S")
    )


def clock(at: datetime) -> Markup:
    """Format the time of a day to the second, in UTC."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.isoformat(timespec="milliseconds"), utc.strftime("%H:%M:%S")
    )


def abbreviated(digest: str | None) -> str:
    """Return the beginning of a hash."""
    return digest[:_DIGEST_LETTERS] if digest else ""


def prose(text: str) -> Markup:
    """Mark up plain text: words between backticks become code."""
    parts = re.split("`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>" if number % 2 else "{}").format(printable(part)) for number, part in enumerate(parts)
    )


def printable(value: object) -> object:
    """Replace characters that cannot be printed or that change the direction of text; leave Markup as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(letter if letter == "\n" or letter.isprintable() else _REPLACEMENT for letter in value)
