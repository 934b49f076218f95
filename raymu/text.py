"""Text of messages: foreign text in one line, names as words, counts, durations, and a guess at a misspelt name."""

import difflib
from collections.abc import Iterable

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def one_line(problem: object, *, longest: int = 300) -> str:
    """Return foreign text as part of one line: printable, and cut if it is long."""
    text = " ".join(str(problem).split())
    if not text and isinstance(problem, BaseException):
        text = type(problem).__name__
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= longest else f"{text[:longest]}..."


def plural(number: int, noun: str) -> str:
    """Return a count with its noun: 1 request, 12 requests."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def words(name: str) -> str:
    """Return a stored name as words: `patch_and_fine_tune` is patch and fine-tune."""
    return name.replace("_", " ").replace("fine tune", "fine-tune")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the nearest choice, or nothing if none is near."""
    nearest = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def duration(seconds: float) -> str:
    """Return a duration in a suitable unit: 4 ms, 0.31 s, 12.4 s, 3 min 20 s, 5 h 2 min, 12 days."""
    if seconds < 0.0:
        return f"-{duration(-seconds)}"
    if seconds < 0.0995:  # 99 ms, rounded
        return f"{1000 * seconds:.2g} ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    seconds = round(seconds)
    if seconds < _HOUR:
        return _in_units(seconds, _MINUTE, "min", 1.0, "s")
    if seconds < _DAY:
        return _in_units(seconds, _HOUR, "h", _MINUTE, "min")
    return plural(round(seconds / _DAY), "day")


def _in_units(seconds: float, unit: float, name: str, smaller: float, smaller_name: str) -> str:
    whole, rest = divmod(round(seconds / smaller), round(unit / smaller))
    return f"{whole} {name} {rest} {smaller_name}" if rest else f"{whole} {name}"
