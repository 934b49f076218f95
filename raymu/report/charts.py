"""Plots as fractions of their width and height, so that a page draws them at any size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A labelled value on an axis."""

    at: float
    """Place on the axis, from 0 (left, bottom) to 1."""
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A mark in a plot. `x` and `y` are from 0 (left, bottom) to 1."""

    x: float
    y: float
    kind: str
    """Name of the symbol."""
    label: str
    """Description of the point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A plot that is ready to be drawn."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A mark to draw, in the units of the data."""

    x: float
    y: float
    kind: str
    """Name of the symbol."""
    label: str
    """Description of the mark."""


_MAX_DECADES = 6


def log_chart(marks: Sequence[Mark]) -> Chart:
    """Make a plot with the same logarithmic scale on both axes, so that x equals y on the diagonal.

    Values of 0 or less are drawn at the edge.
    """
    values = [value for mark in marks for value in (mark.x, mark.y) if value > 0.0]
    low = math.floor(math.log10(min(values, default=1.0)))
    high = max(math.ceil(math.log10(max(values, default=10.0))), low + 1)
    step = math.ceil((high - low) / _MAX_DECADES)

    def scale(value: float) -> float:
        return (math.log10(value) - low) / (high - low) if value > 0.0 else 0.0

    ticks = tuple(Tick(at=(decade - low) / (high - low), value=10.0**decade) for decade in range(low, high + 1, step))
    return Chart(x_ticks=ticks, y_ticks=ticks, points=_points(marks, scale, scale))


def line_chart(marks: Sequence[Mark], *, min_height: float) -> Chart:
    """Make a plot with linear axes around the values.

    Args:
        marks: What to draw.
        min_height: The shortest vertical axis, in units of y, so that noise looks small.
    """
    xs, ys = [mark.x for mark in marks], [mark.y for mark in marks]
    middle, half = (min(ys) + max(ys)) / 2, max(max(ys) - min(ys), min_height) * 0.6
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    y_low, y_high = middle - half, middle + half

    def scale_x(value: float) -> float:
        return (value - x_low) / (x_high - x_low)

    def scale_y(value: float) -> float:
        return (value - y_low) / (y_high - y_low)

    x_values = _round_values(x_low, x_high, max_count=8, min_step=1.0)
    y_values = _round_values(y_low, y_high, max_count=5)
    return Chart(
        x_ticks=tuple(Tick(at=scale_x(value), value=value) for value in x_values),
        y_ticks=tuple(Tick(at=scale_y(value), value=value) for value in y_values),
        points=_points(marks, scale_x, scale_y),
    )


def _points(
    marks: Sequence[Mark], scale_x: Callable[[float], float], scale_y: Callable[[float], float]
) -> tuple[Point, ...]:
    return tuple(Point(x=scale_x(mark.x), y=scale_y(mark.y), kind=mark.kind, label=mark.label) for mark in marks)


def _round_values(low: float, high: float, *, max_count: int, min_step: float = 0.0) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten within a range."""
    rough = (high - low) / max_count
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough), min_step)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
