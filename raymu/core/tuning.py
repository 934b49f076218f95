"""What a search for the hybrid boundary tries, how it is judged, and which trials are worth a look."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from raymu.config.unlearning import Contributions, Strategy

_INFEASIBLE = 10.0
"""The loss of a trial that meets the constraints is at most about 1: what all retraining costs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a run would be configured with. boundary: a fraction; fine_tune_slices: for ohs; window_s: of batching"""

    strategy: Strategy
    boundary: float
    contributions: Contributions
    fine_tune_slices: int
    window_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """What a search chooses among. boundaries: lowest and highest fraction"""

    strategies: tuple[Strategy, ...]
    contributions: tuple[Contributions, ...]
    boundaries: tuple[float, float] = (0.0, 1.0)
    fine_tune_slices: tuple[int, ...] = (1,)
    windows_s: tuple[float, ...] = (0.0,)

    def grid(self, trials: int) -> tuple[Choice, ...]:
        """At least so many choices: every combination, with boundaries at equal distances."""
        others = list(product(self.strategies, self.contributions, self.fine_tune_slices, self.windows_s))
        boundaries = np.linspace(*self.boundaries, max(2, -(-trials // len(others)))).tolist()
        return tuple(
            Choice(
                strategy=strategy,
                boundary=boundary,
                contributions=contributions,
                fine_tune_slices=slices,
                window_s=window_s,
            )
            for boundary, (strategy, contributions, slices, window_s) in product(boundaries, others)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """How choices are found. stops_early: end trials that fall behind at a quarter of the trace (ASHA, Li et al., 2020)"""

    space: SearchSpace
    method: Literal["grid", "random", "optuna"] = "grid"
    trials: int = 16
    seed: int = 0
    stops_early: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class InterimScore:
    """What a choice has done about a trace so far."""

    passes: float
    lost_points: float
    """Percentage points of test accuracy below the retrained oracle's."""
    debt_share: float
    """Of the shards, those that settling would retrain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score(InterimScore):
    """What a choice does about a trace. Losses: mean cross-entropy in nats per forgotten sample, of the ensemble."""

    compute_seconds: float
    """By the run's forecasts of seconds per pass: the same wherever the trial runs."""
    measured_seconds: float
    makespan_s: float
    p50_s: float
    """Median time from a request's arrival until it is repaired."""
    p95_s: float
    accuracy: float
    forgetting_error: float
    """Mean distance of a forgotten sample's loss from the oracle's."""
    too_little: float
    """The part of it where the loss is below the oracle's: the sample is still known."""
    too_much: float
    """The part where it is above: over-forgetting, itself a leak."""
    approximate_share: float
    """Of the states that remedies left."""
    weights_sha256: str
    """Over all shards' repaired states."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """What a choice must hold, at the least; None for no bound."""

    most_lost_points: float | None = 0.5
    most_debt_share: float | None = None
    most_forgetting_error: float | None = None
    most_p95_s: float | None = None

    def violations(self, score: InterimScore) -> dict[str, float]:
        """What is not held -> by how much, relative to the bound; of an interim score, what it can tell."""
        bounds = {
            "lost_points": self.most_lost_points,
            "debt_share": self.most_debt_share,
            "forgetting_error": self.most_forgetting_error,
            "p95_s": self.most_p95_s,
        }
        over = {name: getattr(score, name, bound) - bound for name, bound in bounds.items() if bound is not None}
        return {name: by / max(bounds[name] or 0.0, 1e-9) for name, by in over.items() if by > 0.0}

    def loss(self, score: InterimScore, *, retrain_passes: float) -> float:
        """The least compute that holds the constraints is the best; what holds none is ranked by how far it is off.

        retrain_passes: what retraining for every request would take
        """
        violations = self.violations(score)
        return _INFEASIBLE + sum(violations.values()) if violations else score.passes / retrain_passes


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningTrial:
    choice: Choice
    score: Score


def pareto_front(scores: Sequence[Score]) -> list[bool]:
    """Which scores no other one beats in compute, accuracy and forgetting error at once. returns: one bool per score"""
    points = np.array([(one.passes, one.lost_points, one.forgetting_error) for one in scores], dtype=np.float64)
    return [not any(_dominates(other, point) for other in points) for point in points]


def _dominates(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    return bool((one <= other).all() and (one < other).any())
