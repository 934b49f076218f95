"""One look for all figures: readable at the width of a README, and without telling red from green."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator
from rows import Rows, mean, spread, where

from raymu.plots import COLOURS

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "raymu",  # the same figure, the same bytes
}
MARKERS: Mapping[str, str] = {
    "sisa": "o",
    "dpus": "v",
    "hs": "s",
    "ohs": "D",
    "ohs, replay": "P",
    "from scratch": "X",
    "control": "x",
    "hs, boundary 0.85": "^",
    "unsharded": "*",
}
_COLOURS: Mapping[str, str] = {**COLOURS, "hs, boundary 0.85": "#e69f00", "unsharded": "#56b4e9"}
_OTHERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


@contextmanager
def style() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcParams.update(_STYLE)
        yield


def panels(
    rows: int, columns: int, *, width: float = 3.1, height: float = 2.7, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """returns: the figure, and its axes row by row"""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    return figure, list(axes.flat)


def look(name: str, position: int = 0) -> dict[str, Any]:
    """Colour and marker of a method, the same in every figure; of others by their position."""
    return {
        "color": _COLOURS.get(name, _OTHERS[position % len(_OTHERS)]),
        "marker": MARKERS.get(name, "osDvP^X"[position % 7]),
    }


def with_spread(
    axes: Axes, at: Sequence[float], groups: Sequence[Rows], name: str, *, scale: float = 1.0, **how: Any
) -> None:
    """The mean of each group's column at each place, and a bar from its least to its greatest."""
    means = np.array([mean(group, name) for group in groups]) * scale
    ends = np.array([spread(group, name) for group in groups]).reshape(-1, 2) * scale
    bars = np.abs(ends.T - means)
    axes.errorbar(at, means, yerr=bars, capsize=2, elinewidth=0.9, **how)


def dodged(
    axes: Axes, rows: Rows, *, across: str, places: Sequence[str], methods: Sequence[str], name: str, scale: float = 1.0
) -> None:
    """Methods side by side at each place of a category. across: the column that has the places"""
    step = 0.8 / max(len(methods), 1)
    for position, method in enumerate(methods):
        offset = (position - (len(methods) - 1) / 2) * step
        groups = [where(rows, method=method, **{across: place}) for place in places]
        at = np.arange(len(places)) + offset
        with_spread(
            axes, at.tolist(), groups, name, scale=scale, label=method, linestyle="none", **look(method, position)
        )
    axes.set_xticks(range(len(places)), places)
    axes.grid(visible=False, axis="x")


def logarithmic_x(axes: Axes, at: Sequence[float]) -> None:
    """With these places marked, in plain numbers."""
    axes.set_xscale("log")
    axes.set_xticks(at, [_plain(value) for value in at])
    axes.minorticks_off()


def logarithmic_y(axes: Axes) -> None:
    """Once all is plotted: marked at 1, 2 and 5 of each decade, or at 1 where there are many."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200.0 * low else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: _plain(value)))
    axes.minorticks_off()


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000.0 else f"{value:g}"


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, below them."""
    handles = {text: line for one in axes for line, text in zip(*one.get_legend_handles_labels(), strict=True)}
    widths, room = [7 + len(text) for text in handles], 15.0 * figure.get_figwidth()  # in characters, about
    columns = len(handles) if sum(widths) <= room else int(room / max(widths))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)


def save(figure: Figure, folder: Path, name: str) -> None:
    """As PNG and as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
