"""Words of messages: in one line, with a count, and with a guess at what was meant."""

import difflib
from collections.abc import Iterable


def one_line(problem: object, *, longest: int = 300) -> str:
    """What foreign code or a user's text says, as a part of one line: printable, and cut where it goes on for long."""
    text = " ".join(str(problem).split())
    if not text and isinstance(problem, BaseException):
        text = type(problem).__name__
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= longest else f"{text[:longest]}..."


def plural(number: int, noun: str) -> str:
    """A count with its noun: 1 request, 12 requests."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest choice, or nothing if none is near."""
    nearest = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
