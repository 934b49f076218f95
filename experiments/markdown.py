"""Numbers and tables as the documents write them."""

from collections.abc import Iterable, Sequence
from math import isfinite

import pandas as pd


def table(header: Sequence[str], lines: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    """Write a Markdown table. Columns from `numbers_from` on are aligned to the right."""
    marks = "|".join("---" if column < numbers_from else "--:" for column in range(len(header)))
    head, *body = [f"| {' | '.join(line)} |" for line in (header, *lines)]
    return "\n".join([head, f"|{marks}|", *body])


def ratio(rows: pd.DataFrame, scenario: str, method: str, baseline: str, column: str) -> float:
    """Return how many times less of a column a method takes than a baseline: the mean of the seeds' ratios."""
    by_seed = rows[rows["scenario"] == scenario].pivot(index="seed", columns="method", values=column)
    return float((by_seed[baseline] / by_seed[method]).mean())


def times(value: float) -> str:
    """Write a ratio; a dash for what takes nothing, which no ratio describes."""
    if not isfinite(value):
        return "-"
    return f"{value:,.0f}x" if value >= 10.0 else f"{value:.2g}x"


def count(value: float) -> str:
    """Write a whole number."""
    return f"{value:,.0f}"


def percent(shares: pd.Series) -> str:
    """Write the mean of some shares, ± half of their range, in percent."""
    return f"{100.0 * shares.mean():.1f} ± {50.0 * (shares.max() - shares.min()):.1f}"


def points(shares: pd.Series) -> str:
    """Write the mean (minimum to maximum) of some shares, in percentage points."""
    return f"{100.0 * shares.mean():.2f} ({100.0 * shares.min():.2f} to {100.0 * shares.max():.2f})"


def median_ratio(ratios: pd.Series) -> str:
    """Write the median (minimum to maximum) of some ratios."""
    return f"{ratios.median():.2f}x ({ratios.min():.2f} to {ratios.max():.2f})"
