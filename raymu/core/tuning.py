"""The search for a hybrid boundary: its values, the scores of its trials, and the Pareto-optimal ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from raymu.config.unlearning import Contributions, Strategy

_INFEASIBLE = 10.0
"""Added to the loss of a trial that violates a constraint; others have a loss of at most about 1, all retraining."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Settings that a trial tries."""

    strategy: Strategy
    boundary: float
    """Hybrid boundary, a fraction."""
    contributions: Contributions
    fine_tune_slices: int
    """Last slices that `ohs` fine-tunes on, or last stages that it replays."""
    window_s: float
    """Batch window in seconds."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the choice that plain values name, as Ray Tune stores them: strategy and contributions are strings."""
        strategy, contributions = Strategy(settings["strategy"]), Contributions(settings["contributions"])
        return cls(**{**settings, "strategy": strategy, "contributions": contributions})


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """The settings that a search chooses among."""

    strategies: tuple[Strategy, ...]
    contributions: tuple[Contributions, ...]
    boundaries: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest fraction."""
    fine_tune_slices: tuple[int, ...] = (1,)
    windows_s: tuple[float, ...] = (0.0,)

    def grid(self, trials: int) -> tuple[Choice, ...]:
        """Return at least this many choices: every combination, with boundaries at equal distances."""
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
    """The method by which a search chooses values."""

    space: SearchSpace
    method: Literal["grid", "random", "optuna"] = "grid"
    trials: int = 16
    seed: int = 0
    stops_early: bool = False
    """End trials that fall behind after a quarter of the trace (ASHA, Li et al., 2020)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InterimScore:
    """Score of a choice after a part of the trace."""

    passes: float
    """Sample passes of all repairs."""
    lost_points: float
    """Percentage points of test accuracy below the retrained oracle's."""
    debt_share: float
    """Share of the shards that settling would retrain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score(InterimScore):
    """Score of a choice after the whole trace. Forgetting errors are those of the shards that held the forgotten samples."""

    compute_seconds: float
    """Seconds by the run's measured seconds per pass, so that they do not depend on where the trial runs."""
    measured_seconds: float
    """Seconds that the repairs took."""
    makespan_s: float
    p50_s: float
    """Median time from a request's arrival until it is repaired."""
    p95_s: float
    accuracy: float
    forgetting_error: float
    """Distance from the retrained oracle as a multiple of the floor: 0 is exact, and 1 is as near as an oracle of another
    seed. It is `ForgettingError.paired`, which varies with the choice of oracles a third as much as the other reading."""
    klom_error: float
    """The same by KLoM at equal variance, from the distribution of oracles: 1 is as near as any oracle. A few samples that
    are well remembered weigh more in it."""
    too_little: float
    """Mean nats by which the ensemble's losses on forgotten samples are below the oracle's: they are still remembered."""
    too_much: float
    """Mean nats by which they are above: over-forgetting, itself a leak."""
    approximate_share: float
    """Share of the states that remedies left."""
    weights_sha256: str
    """SHA-256, in hex, over the repaired states of all shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """Upper bounds that a choice must meet; None without a bound."""

    most_lost_points: float | None = 0.5
    most_debt_share: float | None = None
    most_forgetting_error: float | None = None
    """As a multiple of the floor. Searches of version 0.1 have nats."""
    most_klom_error: float | None = None
    most_p95_s: float | None = None

    def violations(self, score: InterimScore) -> dict[str, float]:
        """Return the violated bounds with the excess relative to each. An interim score is checked for what it contains."""
        bounds = {
            "lost_points": self.most_lost_points,
            "debt_share": self.most_debt_share,
            "forgetting_error": self.most_forgetting_error,
            "klom_error": self.most_klom_error,
            "p95_s": self.most_p95_s,
        }
        over = {name: getattr(score, name, bound) - bound for name, bound in bounds.items() if bound is not None}
        return {name: by / max(bounds[name] or 0.0, 1e-9) for name, by in over.items() if by > 0.0}

    def loss(self, score: InterimScore, *, retrain_passes: float) -> float:
        """Rank a score: by its compute if it meets every bound, otherwise behind all others, by its violations.

        Args:
            score: The score.
            retrain_passes: Sample passes of retraining for every request.
        """
        violations = self.violations(score)
        return _INFEASIBLE + sum(violations.values()) if violations else score.passes / retrain_passes


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningTrial:
    """A choice and its score."""

    choice: Choice
    score: Score


def pareto_front(scores: Sequence[Score]) -> list[bool]:
    """Say of each score whether none is better in compute, accuracy and forgetting error at once."""
    points = np.array([(score.passes, score.lost_points, score.forgetting_error) for score in scores], dtype=np.float64)
    return [not any(_dominates(other, point) for other in points) for point in points]


def _dominates(point: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    return bool((point <= other).all() and (point < other).any())
