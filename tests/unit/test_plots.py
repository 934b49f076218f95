"""Figures: each word has one look, which does not need colour, and spreads are drawn on an axis that starts at 0."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from raymu.plots import LOOKS, MethodCost, plot_costs

ROOT = Path(__file__).parents[2]
STRATEGIES = ("sisa", "dpus", "hs", "ohs")
# Machado, Oliveira and Fernandes (2009): what a deuteranope sees, in linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)


def seen(colour: str) -> np.ndarray:
    """Return a colour as a deuteranope sees it, as linear RGB."""
    values = np.array(to_rgb(colour))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return (DEUTERANOPIA @ linear).clip(0.0, 1.0)


@pytest.mark.parametrize(("name", "other"), list(combinations(STRATEGIES, 2)))
def test_strategies_differ_in_marker_and_line_and_in_colour_for_deuteranopes(name: str, other: str) -> None:
    look, other_look = LOOKS[name], LOOKS[other]
    assert look.marker != other_look.marker
    assert look.line != other_look.line
    assert np.linalg.norm(seen(look.colour) - seen(other_look.colour)) > 0.2


def test_no_script_has_colours_of_its_own() -> None:
    """A word has one colour in all figures. Greys are for guides, which are no words."""
    for path in (ROOT / "experiments").glob("*.py"):
        if path.name == "plots.py":  # with the colours of what has no look
            continue
        for red, green, blue in re.findall(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})\b", path.read_text()):
            assert red == green == blue, path.name


def test_costs_are_drawn_with_their_spread_on_an_axis_from_zero() -> None:
    costs = [
        MethodCost(method=name, seconds=1.0 + number, distance=0.01 * number, error=0.002)
        for number, name in enumerate((*STRATEGIES, "from scratch", "control"))
    ]
    figure = plot_costs({"20 requests of one sample": costs, "1% at once": costs})
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert axes.get_ylim()[0] == 0.0
        assert not axes.patches
        assert len(axes.containers) == len(costs)
        assert all(container.has_yerr for container in axes.containers)  # type: ignore[attr-defined]


def test_models_whose_cost_is_not_compared_are_lines_with_bands() -> None:
    costs = [
        MethodCost(method=name, seconds=seconds, distance=distance, error=0.002)
        for name, seconds, distance in (("sisa", 2.0, 0.0), ("other seed", 9.0, 0.02), ("untouched", 0.0, 0.05))
    ]
    [axes] = plot_costs({"1% at once": costs}).axes
    assert len(axes.containers) == 1
    levels = {str(line.get_label()): line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) == 2}  # type: ignore[arg-type, index]
    assert levels == {"other seed": 0.02, "untouched": 0.05}
    assert len(axes.patches) == 2
