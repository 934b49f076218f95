"""Whether a model that forgot can be told from models that were retrained without the forget set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.audit.attacks import Gaussians, Scores
from raymu.core.audit.roc import Estimate
from raymu.core.audit.signals import Confidences, probabilities
from raymu.core.verdict import Verdict

DRAWS = 4000
NEIGHBOURS = 100
"""How many samples about as hard stand for a forgotten one, where it is asked how much exact retrainings differ on it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OracleComparison:
    """One shard's samples that no retrained oracle saw.

    model: (samples,) confidences of the model in question; oracles: (oracles, samples), retrained with other seeds
    shadows, is_in: (models, samples); is_forgotten: (samples,) the request's, the others are unseen samples
    """

    model: Confidences
    oracles: Confidences
    shadows: Confidences
    is_in: Mask
    is_forgotten: Mask

    def __post_init__(self) -> None:
        if len(self.oracles) < 2:
            raise ValueError("it takes two retrained oracles to know how much exact retrainings differ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How a model's forget set looks beside that of retrained oracles.

    difference: in the mean probability of the true class; above 0 the model remembers, below it over-forgets. The interval
    is as wide as exact retrainings differ: it holds 0 where the model could be one of them.
    remembered, over_forgotten: how probable it is that some sample stands out, in an exact retraining, as much as the most
    remembered, or the most over-forgotten one does here
    level: probability that an exact retraining is taken for none, as nearly as few oracles tell how much retrainings
    differ; experiments/audit_power.py measures it
    """

    samples: int
    difference: Estimate
    remembered: float
    over_forgotten: float
    level: float

    @property
    def remembers(self) -> bool:
        return self.difference.low > 0.0 or self.remembered < self.level / 4.0

    @property
    def over_forgets(self) -> bool:
        return self.difference.high < 0.0 or self.over_forgotten < self.level / 4.0


def compare_with_oracles(trials: Sequence[OracleComparison], *, level: float, seed: int) -> Comparison:
    """Compare on the forget set as a whole, and on its samples one by one, each on both sides at a quarter of the level.

    trials: of each shard that holds samples of the request
    """
    return Comparison(
        samples=sum(int(trial.is_forgotten.sum()) for trial in trials),
        difference=_mean_difference(trials, level=level / 2.0, random=np.random.default_rng(seed)),
        remembered=_max_score_p_value([_membership_scores(trial) for trial in trials], trials),
        over_forgotten=_max_score_p_value([_non_membership_scores(trial) for trial in trials], trials),
        level=level,
    )


def _mean_difference(trials: Sequence[OracleComparison], *, level: float, random: np.random.Generator) -> Estimate:
    """In probabilities: of log odds the surest samples decide the mean, of losses the hardest, and both vary by chance."""
    differences = [
        (probabilities(trial.model) - probabilities(trial.oracles).mean(axis=0))[trial.is_forgotten] for trial in trials
    ]
    every = np.concatenate(differences)
    value = float(every.mean())
    drawn = sum(_drawn_differences(trial, random) for trial in trials) / len(every)
    low, high = np.quantile(drawn, [level / 2.0, 1.0 - level / 2.0])
    return Estimate(value=value, low=value - float(high), high=value - float(low))


def _drawn_differences(trial: OracleComparison, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """What the differences would add up to, were the model one more oracle. returns: (DRAWS,)

    A draw takes one oracle, and for each forgotten sample its difference from the others on a sample about as hard:
    hard ones differ more, and the hardest of one retraining are easier in the next.
    """
    oracles = probabilities(trial.oracles)
    forgotten = int(trial.is_forgotten.sum())
    drawn = np.empty(DRAWS)
    chosen = random.integers(len(oracles), size=DRAWS)
    for number, oracle in enumerate(oracles):
        others = np.delete(oracles, number, axis=0).mean(axis=0)
        order = np.argsort(others, kind="stable")
        width = min(NEIGHBOURS, len(order))
        places = np.searchsorted(others[order], others[trial.is_forgotten])
        first = np.clip(places - width // 2, 0, len(order) - width)
        draws = np.flatnonzero(chosen == number)
        picked = order[first + random.integers(width, size=(len(draws), forgotten))]
        drawn[draws] = (oracle - others)[picked].sum(axis=1)
    return drawn


def _membership_scores(trial: OracleComparison) -> Scores:
    """LiRA's log likelihood ratios, of the model and of the oracles. returns: (1 + oracles, samples)"""
    seen, unseen = Gaussians.fit(trial.shadows, trial.is_in), Gaussians.fit(trial.shadows, ~trial.is_in)
    confidences = np.vstack([trial.model, trial.oracles])
    return seen.log_density(confidences) - unseen.log_density(confidences)


def _non_membership_scores(trial: OracleComparison) -> Scores:
    """How far below the shadow models that never saw a sample its confidence is. returns: (1 + oracles, samples)"""
    unseen = Gaussians.fit(trial.shadows, ~trial.is_in)
    return -unseen.standardise(np.vstack([trial.model, trial.oracles]))


def _max_score_p_value(scores: Sequence[Scores], trials: Sequence[OracleComparison]) -> float:
    """How probable it is that one of so many samples scores as high in an exact retraining as the highest does here."""
    forgotten = np.concatenate([one[0, trial.is_forgotten] for one, trial in zip(scores, trials, strict=True)])
    in_oracles = np.concatenate([one[1:].ravel() for one in scores])
    as_high = 1 + int((in_oracles >= forgotten.max()).sum())
    return min(1.0, len(forgotten) * as_high / (1 + len(in_oracles)))


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditVerdict:
    """PASS: not to be told from a retrained model; FAIL: it can be told; INCONCLUSIVE: too little data to say."""

    verdict: Verdict
    reason: str


def oracle_verdict(served: Comparison, control: Comparison, *, is_oracle: bool) -> AuditVerdict:
    """Hold what is served against retrained oracles; over-forgetting fails as remembering does.

    control: the same comparison of a model that forgot nothing. Where even that passes, a pass would say nothing.
    is_oracle: whether what is served is, bit for bit, the retrained oracle
    """
    if is_oracle:
        return AuditVerdict(verdict=Verdict.PASS, reason="bit for bit the retrained oracle")
    faults = [
        what for what, is_found in (("remembers", served.remembers), ("over-forgets", served.over_forgets)) if is_found
    ]
    if faults:
        return AuditVerdict(
            verdict=Verdict.FAIL, reason=f"{' and '.join(faults)}: retrained oracles do not differ as much"
        )
    if not control.remembers:
        return AuditVerdict(
            verdict=Verdict.INCONCLUSIVE,
            reason="too little data to say: a model that forgot nothing is not told from retrained oracles either",
        )
    return AuditVerdict(
        verdict=Verdict.PASS, reason="not to be told from retrained oracles, and a model that forgot nothing is"
    )
