"""Both palettes are readable: WCAG 2.2 requires a contrast of 4.5 between text and background, and 3 for marks."""

import re
from collections.abc import Mapping
from importlib.resources import files

import pytest

CSS = files("raymu.report").joinpath("templates/style.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root {(.*?)}", CSS, re.S)[:2]
)

TEXTS = [
    *[(text, ground) for text in ("ink", "muted", "link") for ground in ("card", "paper")],
    *[(name, f"{name}-bg") for name in ("exact", "approximate", "rewound", "abstaining", "late", "calm")],
    *[("ink", f"{name}-bg") for name in ("exact", "late", "calm")],
    *[("ink", ground) for ground in ("sound-cell", "touched-cell", "touched-line", "tainted-cell", "tainted-line")],
    ("link", "late-bg"), ("late", "card"),
]  # fmt: skip
MARKS = [(name, "card") for name in ("retrain", "patch", "fine-tune", "replay", "frame", "exact")]


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(palette: Mapping[str, str], ink: str, ground: str) -> float:
    low, high = sorted((luminance(palette[ink]), luminance(palette[ground])))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_marks_stand_out(palette: Mapping[str, str]) -> None:
    assert {pair: contrast(palette, *pair) for pair in TEXTS if contrast(palette, *pair) < 4.5} == {}
    assert {pair: contrast(palette, *pair) for pair in MARKS if contrast(palette, *pair) < 3.0} == {}


def test_both_palettes_name_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
