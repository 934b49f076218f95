"""Text of messages: foreign text in one line, names as words, counts, durations, and a guess at a misspelt name."""

import difflib
import itertools
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_FAR_APART = 1000.0
"""Ratio of durations beyond which one unit with the same decimals shows nothing of the smallest."""
_UNCERTAIN = 10.0
"""Ratio of the ends of a range beyond which it says little."""


def printable(text: str) -> str:
    """Return text with an escape for each letter that moves the cursor, changes colours or directions, or is not seen."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def one_line(problem: object, *, longest: int = 300) -> str:
    """Return foreign text as part of one line: printable, and cut if it is long."""
    text = " ".join(str(problem).split())
    if not text and isinstance(problem, BaseException):
        text = type(problem).__name__
    text = printable(text)
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


def short_names(names: Iterable[str], *, least: int = 8) -> dict[str, str]:
    """Return the beginning of each name: as long as all of them are different, and at least `least` letters."""
    distinct = sorted(set(names))
    shared = [_shared(*pair) for pair in itertools.pairwise(distinct)]
    length = max(least, 1 + max(shared, default=0))
    return {name: name[:length] for name in distinct}


def _shared(name: str, other: str) -> int:
    """Return how many letters two names begin with alike."""
    return next((at for at, pair in enumerate(zip(name, other, strict=False)) if len(set(pair)) > 1), len(name))


def duration(seconds: float, *, digits: int = 3) -> str:
    """Return a duration in a suitable unit: 4 ms, 0.31 s, 12.4 s, 3 min 20 s, 5 h 2 min, 12 days."""
    if seconds < 0.0:
        return f"-{duration(-seconds, digits=digits)}"
    if seconds < 0.0995:  # 99 ms, rounded
        return f"{_rounded(1000 * seconds, 2)} ms"
    if seconds < _MINUTE:
        return f"{_rounded(seconds, digits)} s"
    seconds = round(seconds)
    if seconds < _HOUR:
        return _in_units(seconds, _MINUTE, "min", 1.0, "s")
    if seconds < _DAY:
        return _in_units(seconds, _HOUR, "h", _MINUTE, "min")
    return plural(round(seconds / _DAY), "day")


def durations(seconds: Sequence[float], *, digits: int = 3) -> tuple[str, ...]:
    """Return durations for one column: in one unit with the same decimals, unless they differ too much for that."""
    positive = [number for number in seconds if number > 0.0]
    if not positive or max(seconds) >= _MINUTE or max(seconds) > _FAR_APART * min(positive):
        return tuple(duration(number, digits=digits) for number in seconds)
    scale, unit = (1000.0, "ms") if max(seconds) < 0.0995 else (1.0, "s")
    decimals = max(0, min(3, 1 - math.floor(math.log10(scale * min(positive)))))
    return tuple(f"{scale * number:.{decimals}f} {unit}" for number in seconds)


def forecast_duration(seconds: float) -> str:
    """Return a duration that is only a forecast, with two digits."""
    return duration(seconds, digits=2)


def forecast_range(low_s: float, high_s: float) -> str:
    """Return the range of a forecast. One that is wider than a factor of ten is called uncertain, in words."""
    low, high = forecast_duration(low_s), forecast_duration(high_s)
    if high_s > _UNCERTAIN * low_s:
        return f"uncertain, up to {high}"
    unit = high.rpartition(" ")[2]
    same_unit = low.count(" ") == high.count(" ") == 1 and low.endswith(f" {unit}")
    return f"{low.removesuffix(f' {unit}') if same_unit else low} to {high}"


def _rounded(number: float, digits: int) -> str:
    """Round to some digits, and without an exponent: 12, 0.31, 0.000037."""
    return f"{Decimal(f'{number:.{digits}g}'):f}"


def _in_units(seconds: float, unit: float, name: str, smaller: float, smaller_name: str) -> str:
    whole, rest = divmod(round(seconds / smaller), round(unit / smaller))
    return f"{whole} {name} {rest} {smaller_name}" if rest else f"{whole} {name}"
