"""The repeated remedy of an audit, as a figure and a table; and any audit document without what names a sample."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from raymu.text import words

_NAMES_SAMPLE = frozenset({"row"})
"""Keys that are left out wherever they are: audits of version 0.1 have row numbers of the audited table."""
_LABELS = {"other_seed": "other seed (floor)"}
FLOOR = "other_seed"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyBar:
    """One row of the figure and of the table."""

    name: str
    label: str
    length: float
    """Length of the bar, from 0 to 1: the mean KLoM."""
    klom: float
    """Mean Gaussian KLoM on the forget set, in nats, as all KLoM here."""
    p95: float
    """95th percentile of the same."""
    over_floor: float | None
    paired: float
    retained: float
    """Mean KLoM on retained samples."""
    unseen: float
    """Mean KLoM on samples that no model was trained on."""
    lira: float
    lira_low: float
    lira_high: float
    relearning_steps: float | None
    accuracy: float
    passes: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyFigure:
    """What an audit says about a remedy that it repeated."""

    verdict: str
    """The verdict of the audit: a request that fails by itself counts."""
    reason: str
    """Why all requests together have their verdict."""
    repetitions: int
    samples: int
    remedies: tuple[str, ...]
    bars: tuple[RemedyBar, ...]
    floor: float
    """Place of the floor on the bars, from 0 to 1."""


def shown_audit(tree: Any) -> Any:
    """Return a JSON document without row numbers: where a table numbers its rows, a number is an id."""
    if isinstance(tree, Mapping):
        return {name: shown_audit(value) for name, value in tree.items() if name not in _NAMES_SAMPLE}
    if isinstance(tree, list):
        return [shown_audit(value) for value in tree]
    return tree


def remedy_figure(tree: Any) -> RemedyFigure | None:
    """Read the repeated remedy of all requests together from an audit's JSON. None if the document does not have it."""
    try:
        together = tree["together"]
        remedy = together["remedy"]
        rows = [_bar(row) for row in remedy["rows"]]
        longest = max(bar.klom for bar in rows) or 1.0
        floor = next(bar.klom for bar in rows if bar.name == FLOOR)
        return RemedyFigure(
            verdict=str(tree["verdict"]),
            reason=str(together["reason"]),
            repetitions=int(remedy["repetitions"]),
            samples=int(remedy["samples"]),
            remedies=tuple(words(str(name)) for name in remedy["remedies"]),
            bars=tuple(_with_length(bar, longest) for bar in rows),
            floor=floor / longest,
        )
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError, StopIteration):
        return None


def _bar(row: Any) -> RemedyBar:
    """Read a row. Raise KeyError, TypeError or ValueError if it is none."""
    name, figures, over_floor = str(row["name"]), row["forgetting"], row["over_floor"]
    steps = figures["relearning_steps"]
    return RemedyBar(
        name=name,
        label=_LABELS.get(name, words(name)),
        length=0.0,
        klom=_number(figures["forget"]["gaussian_klom"]["mean"]),
        p95=_number(figures["forget"]["gaussian_klom"]["p95"]),
        over_floor=None if over_floor is None else _number(over_floor["gaussian_klom"]),
        paired=_number(figures["forget"]["paired"]),
        retained=_number(figures["retained"]["gaussian_klom"]["mean"]),
        unseen=_number(figures["test"]["gaussian_klom"]["mean"]),
        lira=_number(figures["lira"]["value"]),
        lira_low=_number(figures["lira"]["low"]),
        lira_high=_number(figures["lira"]["high"]),
        relearning_steps=None if steps is None else _number(steps),
        accuracy=_number(figures["accuracy"]),
        passes=_number(figures["cost"]["passes"]),
        seconds=_number(figures["cost"]["seconds"]),
    )


def _with_length(bar: RemedyBar, longest: float) -> RemedyBar:
    return replace(bar, length=bar.klom / longest)


def _number(value: Any) -> float:
    """Return a finite number from 0 up, as all of them are. Raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise ValueError(f"{value!r} is no such number")
    return float(value)
