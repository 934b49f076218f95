"""The look of all figures: readable at the width of a README, and without telling red from green."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from raymu.plots import LOOKS

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Colours of everything that is not a method."""


@contextmanager
def style() -> Iterator[None]:
    """Apply the common style to what is drawn in the context."""
    with mpl.rc_context():
        mpl.rcParams.update(_STYLE)
        yield


def panels(
    rows: int, columns: int, *, width: float = 3.1, height: float = 2.7, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels, `width` x `height` inches each. The axes are returned row by row."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    return figure, list(axes.flat)


def look(name: str, index: int = 0) -> dict[str, Any]:
    """Return colour and marker: those of a method in every figure, or the palette's at `index`."""
    if name in LOOKS:
        marker = LOOKS[name].marker
        # An upright stroke cannot be seen on an upright error bar.
        return {"color": LOOKS[name].colour, "marker": "_" if marker == "|" else marker}
    return {"color": PALETTE[index % len(PALETTE)], "marker": "osDvP^X"[index % 7]}


def baseline(name: str) -> dict[str, Any]:
    """Return colour and line style of what methods are compared with."""
    return {"color": LOOKS[name].colour, "ls": LOOKS[name].line}


def plot_spread(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    *,
    scale: float = 1.0,
    order: Sequence[Any] | None = None,
    offset: float = 0.0,
    **line: Any,
) -> None:
    """Plot the mean of column `y` for each value of column `x`, with a bar from minimum to maximum.

    Args:
        axes: The panel.
        rows: The measurements.
        x: A column of numbers or, with `order`, of categories.
        y: The measured column.
        scale: Factor for `y`.
        order: The categories, which are plotted at 0, 1, ...
        offset: Added to the positions of categories.
        line: Keywords of `Axes.errorbar`.
    """
    statistics = rows.groupby(x)[y].agg(["mean", "min", "max"]) * scale
    if order is not None:
        statistics = statistics.reindex(order)
    positions = statistics.index.to_numpy() if order is None else np.arange(len(order)) + offset
    axes.errorbar(positions, statistics["mean"], yerr=spread_bars(statistics), capsize=2, elinewidth=0.9, **line)


def spread_bars(statistics: pd.DataFrame) -> list[pd.Series]:
    """Return the lengths of error bars from `mean` down to `min` and up to `max`."""
    mean = statistics["mean"]
    # The mean of equal values may be off by a rounding error.
    return [(mean - statistics["min"]).clip(lower=0.0), (statistics["max"] - mean).clip(lower=0.0)]


def plot_methods(axes: Axes, rows: pd.DataFrame, column: str, *, methods: Sequence[str], scale: float = 1.0) -> None:
    """Plot methods side by side at each scenario, in the order in which the scenarios were measured."""
    scenarios = rows["scenario"].unique()
    step = 0.8 / max(len(methods), 1)
    for index, method in enumerate(methods):
        offset = (index - (len(methods) - 1) / 2) * step
        line = {"label": method, "linestyle": "none", **look(method, index)}
        measured = rows[rows["method"] == method]
        plot_spread(axes, measured, "scenario", column, scale=scale, order=scenarios, offset=offset, **line)
    axes.set_xticks(range(len(scenarios)), scenarios)
    axes.grid(visible=False, axis="x")


def logarithmic_x(axes: Axes, ticks: Sequence[float]) -> None:
    """Make the x axis logarithmic, with ticks in plain numbers."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [_plain(value) for value in ticks])
    axes.minorticks_off()


def logarithmic_y(axes: Axes) -> None:
    """Make the y axis logarithmic. Call this after plotting: the ticks depend on the range."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200.0 * low else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _index: _plain(value)))
    axes.minorticks_off()


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000.0 else f"{value:g}"


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Draw one legend for all panels, below them."""
    handles = {label: line for panel in axes for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    widths, room = [7 + len(label) for label in handles], 11.0 * figure.get_figwidth()  # in characters, about
    columns = len(handles) if sum(widths) <= room else int(room / max(widths))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)
