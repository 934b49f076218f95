"""What a person sees on a terminal of some width, and what is broken there."""

import io
from collections.abc import Callable, Iterator

from rich.console import Console

from raymu.console.screen import Screen

_WIDE = 1000
_FEWEST_LETTERS = 8
"""Letters that a shortened name keeps at least."""


def rendered(draw: Callable[[Screen], None], width: int) -> list[str]:
    """Return the lines that are printed on a terminal."""
    console = Console(width=width, file=io.StringIO(), record=True, markup=False, emoji=False, highlight=False)
    draw(Screen(console))
    return [line.rstrip() for line in console.export_text().splitlines()]


def faults(draw: Callable[[Screen], None], width: int) -> Iterator[str]:
    """Yield what is wrong on a terminal: lines that are too long, and words and numbers that are broken in two.

    Every word has to be one of those that a very wide terminal shows. Long names may be shortened to different beginnings.
    """
    wide = set(_words(rendered(draw, _WIDE)))
    for line in rendered(draw, width):
        if len(line) > width and not line.startswith("  raymu "):  # a command, which is copied in one piece
            yield f"longer than {width}: {line}"
        for word in _words([line]):
            whole = {name for name in wide if name.startswith(word)}
            is_shortened = "," not in word and len(word) >= _FEWEST_LETTERS and len(whole) == 1
            if word not in wide and not is_shortened:
                yield f"broken at {width}: {word!r} in {line!r}"


def _words(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if set(line) - {" ", "─", "━"} and not line.startswith("left out, as the terminal is narrow"):
            yield from (word.rstrip(":") for word in line.split())
