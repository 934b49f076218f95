"""Rows as Markdown: tables, and numbers as they are written."""

from collections.abc import Iterable, Sequence

import numpy as np
from rows import Rows, column, mean, spread, where


def table(header: Sequence[str], lines: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    """numbers_from: the first column that is set to the right"""
    marks = "|".join("---" if place < numbers_from else "--:" for place in range(len(header)))
    head, *body = [f"| {' | '.join(line)} |" for line in (header, *lines)]
    return "\n".join([head, f"|{marks}|", *body])


def less(rows: Rows, scenario: str, method: str, than: str, name: str) -> float:
    """How many times less of a column a method takes: the mean of each seed's ratio."""
    found = {row["seed"]: row[name] for row in where(rows, scenario=scenario, method=method)}
    other = {row["seed"]: row[name] for row in where(rows, scenario=scenario, method=than)}
    return float(np.mean([other[seed] / found[seed] for seed in found]))


def times(value: float) -> str:
    return f"{value:,.0f}x" if value >= 10.0 else f"{value:.2g}x"


def count(value: float) -> str:
    return f"{value:,.0f}"


def percent(rows: Rows, name: str) -> str:
    """The mean, and half the way from the least to the greatest."""
    least, greatest = spread(rows, name)
    return f"{100.0 * mean(rows, name):.1f} ± {50.0 * (greatest - least):.1f}"


def points(rows: Rows) -> str:
    """Accuracy lost."""
    least, greatest = spread(rows, "accuracy_lost")
    return f"{100.0 * mean(rows, 'accuracy_lost'):.2f} ({100.0 * least:.2f} to {100.0 * greatest:.2f})"


def speedup(rows: Rows) -> str:
    """The median of the turns."""
    least, greatest = spread(rows, "speedup")
    return f"{np.median(column(rows, 'speedup')):.2f}x ({least:.2f} to {greatest:.2f})"
