"""Where things lie in a plot: fractions of its width and height, so that it is drawn at any size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """at: from 0 (left, bottom) to 1; value: what is there"""

    at: float
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """x, y: from 0 (left, bottom) to 1; kind: names its mark; about: said of it in words"""

    x: float
    y: float
    kind: str
    about: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What is to be drawn, in its own units."""

    x: float
    y: float
    kind: str
    about: str


_MOST_DECADES = 6


def log_chart(marks: Sequence[Mark]) -> Chart:
    """Both axes logarithmic and alike, so that the diagonal is where x equals y. What is not above 0 lies at the edge."""
    values = [value for mark in marks for value in (mark.x, mark.y) if value > 0.0]
    low = math.floor(math.log10(min(values, default=1.0)))
    high = max(math.ceil(math.log10(max(values, default=10.0))), low + 1)
    step = math.ceil((high - low) / _MOST_DECADES)

    def place(value: float) -> float:
        return (math.log10(value) - low) / (high - low) if value > 0.0 else 0.0

    ticks = tuple(Tick(at=(decade - low) / (high - low), value=10.0**decade) for decade in range(low, high + 1, step))
    return Chart(x_ticks=ticks, y_ticks=ticks, points=_points(marks, place, place))


def line_chart(marks: Sequence[Mark], *, least_height: float) -> Chart:
    """Linear axes around what there is. least_height: of the vertical axis, so that noise looks like noise"""
    xs, ys = [mark.x for mark in marks], [mark.y for mark in marks]
    middle, half = (min(ys) + max(ys)) / 2, max(max(ys) - min(ys), least_height) * 0.6
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    y_low, y_high = middle - half, middle + half

    def place_x(value: float) -> float:
        return (value - x_low) / (x_high - x_low)

    def place_y(value: float) -> float:
        return (value - y_low) / (y_high - y_low)

    return Chart(
        x_ticks=tuple(Tick(at=place_x(one), value=one) for one in _round_values(x_low, x_high, most=8, least_step=1.0)),
        y_ticks=tuple(Tick(at=place_y(one), value=one) for one in _round_values(y_low, y_high, most=5)),
        points=_points(marks, place_x, place_y),
    )


def _points(
    marks: Sequence[Mark], place_x: Callable[[float], float], place_y: Callable[[float], float]
) -> tuple[Point, ...]:
    return tuple(Point(x=place_x(mark.x), y=place_y(mark.y), kind=mark.kind, about=mark.about) for mark in marks)


def _round_values(low: float, high: float, *, most: int, least_step: float = 0.0) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within a range, as many as fit."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(next(one * power for one in (1, 2, 5, 10) if one * power >= rough), least_step)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
