"""Numbers and times as people read them."""

import re
from datetime import UTC, datetime

from markupsafe import Markup

_SHOWN = 12
"""Characters of a hash that tell it apart for the eye."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def count(number: float) -> str:
    """16000 -> 16,000"""
    return f"{number:,.0f}"


def share(fraction: float) -> str:
    """0.9075 -> 90.75%"""
    return f"{fraction:.2%}"


def compact(number: float) -> str:
    """A round number beside an axis: 5, 100, 10k, 1M"""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{number:,g}"


def brief(seconds: float) -> str:
    """A round span of time beside an axis: 10 ms, 100 s"""
    return f"{1000 * seconds:g} ms" if seconds < 1.0 else f"{seconds:,g} s"


def moment(at: datetime) -> Markup:
    """To the second, in UTC."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="milliseconds"), utc.strftime("%Y-%m-%d %H:%M:%S")
    )


def abbreviated(digest: str | None) -> str:
    """The beginning of a hash."""
    return digest[:_SHOWN] if digest else ""


def prose(text: str) -> Markup:
    """Plain text in which `commands` stand out."""
    parts = re.split("`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>" if number % 2 else "{}").format(printable(part)) for number, part in enumerate(parts)
    )


def printable(value: object) -> object:
    """Text in which what cannot be printed, or would turn the text around it, is replaced; Markup is left alone."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(one if one == "\n" or one.isprintable() else _REPLACEMENT for one in value)
