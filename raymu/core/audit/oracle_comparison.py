"""The comparison of a model that forgot with models that were retrained without the forget set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.audit.attacks import Gaussians, Scores
from raymu.core.audit.forgetting import Forgetting
from raymu.core.audit.roc import Estimate
from raymu.core.audit.signals import Confidences, probabilities
from raymu.core.verdict import Verdict, worst

DRAWS = 4000
"""Number of draws from the distribution of the mean difference between exact retrainings."""
NEIGHBOURS = 100
"""Number of samples about as hard as a forgotten one, from which the difference between retrainings is drawn."""
FAR = 1.5
"""Ratio of KLoM to the floor from which a remedy that can be told from retraining is far from it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OracleComparison:
    """Confidences on samples of one shard that no retrained oracle saw."""

    model: Confidences
    """(samples,) of the model in question."""
    oracles: Confidences
    """(oracles, samples) of models that were retrained with other seeds."""
    shadows: Confidences
    """(models, samples) of the shadow models."""
    is_in: Mask
    """(models, samples) whether a shadow model was trained on a sample."""
    is_forgotten: Mask
    """(samples,) whether a sample is the request's; the others are unseen samples."""

    def __post_init__(self) -> None:
        if len(self.oracles) < 2:
            raise ValueError("two retrained oracles are needed to estimate how much exact retrainings differ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A model's forget set compared with that of retrained oracles."""

    samples: int
    """Number of forgotten samples."""
    difference: Estimate
    """Difference in the mean probability of the true class; positive if the model remembers, negative if it over-forgets.
    The interval is as wide as exact retrainings differ, and contains 0 if the model could be one of them."""
    remembered: float
    """Probability that some sample of an exact retraining scores as high as the most remembered one here."""
    over_forgotten: float
    """Probability that some sample of an exact retraining scores as high as the most over-forgotten one here."""
    level: float
    """Nominal probability that an exact retraining is not recognised as one; experiments/audit_power.py measures it."""

    @property
    def remembers(self) -> bool:
        return self.difference.low > 0.0 or self.remembered < self.level / 4.0

    @property
    def over_forgets(self) -> bool:
        return self.difference.high < 0.0 or self.over_forgotten < self.level / 4.0


def compare_with_oracles(trials: Sequence[OracleComparison], *, level: float, seed: int) -> Comparison:
    """Compare the forget set as a whole and sample by sample, each on both sides at a quarter of the level.

    Args:
        trials: The confidences of each shard with samples of the request.
        level: Probability of rejecting an exact retraining.
        seed: Seed of the draws.
    """
    return Comparison(
        samples=sum(int(trial.is_forgotten.sum()) for trial in trials),
        difference=_mean_difference(trials, level=level / 2.0, random=np.random.default_rng(seed)),
        remembered=_max_score_p_value([_membership_scores(trial) for trial in trials], trials),
        over_forgotten=_max_score_p_value([_non_membership_scores(trial) for trial in trials], trials),
        level=level,
    )


def _mean_difference(trials: Sequence[OracleComparison], *, level: float, random: np.random.Generator) -> Estimate:
    """Compare mean probabilities: the mean of log odds depends on the surest samples, that of losses on the hardest."""
    differences = [
        (probabilities(trial.model) - probabilities(trial.oracles).mean(axis=0))[trial.is_forgotten] for trial in trials
    ]
    every = np.concatenate(differences)
    value = float(every.mean())
    drawn = sum(_drawn_differences(trial, random) for trial in trials) / len(every)
    low, high = np.quantile(drawn, [level / 2.0, 1.0 - level / 2.0])
    return Estimate(value=value, low=value - float(high), high=value - float(low))


def _drawn_differences(trial: OracleComparison, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw the sum of the differences as if the model were one more oracle. Returns (DRAWS,) float64.

    A draw takes one oracle, and for each forgotten sample its difference from the others on a sample about as hard:
    hard samples differ more, and the hardest of one retraining are easier in the next.
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
    """Score the model and the oracles by LiRA's log likelihood ratio. Returns (1 + oracles, samples)."""
    seen, unseen = Gaussians.fit(trial.shadows, trial.is_in), Gaussians.fit(trial.shadows, ~trial.is_in)
    confidences = np.vstack([trial.model, trial.oracles])
    return seen.log_density(confidences) - unseen.log_density(confidences)


def _non_membership_scores(trial: OracleComparison) -> Scores:
    """Score by the deviations below shadow models that never saw the sample. Returns (1 + oracles, samples)."""
    unseen = Gaussians.fit(trial.shadows, ~trial.is_in)
    return -unseen.standardise(np.vstack([trial.model, trial.oracles]))


def _max_score_p_value(scores: Sequence[Scores], trials: Sequence[OracleComparison]) -> float:
    """Probability that some sample of an exact retraining scores as high as the highest forgotten one here."""
    forgotten = np.concatenate([each[0, trial.is_forgotten] for each, trial in zip(scores, trials, strict=True)])
    in_oracles = np.concatenate([each[1:].ravel() for each in scores])
    as_high = 1 + int((in_oracles >= forgotten.max()).sum())
    return min(1.0, len(forgotten) * as_high / (1 + len(in_oracles)))


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditVerdict:
    """The result of comparing a model with retrained ones."""

    verdict: Verdict
    """PASS if it cannot, FAIL if it can, INCONCLUSIVE if there are too few data to say."""
    reason: str


def oracle_verdict(served: Comparison, control: Comparison, *, is_oracle: bool) -> AuditVerdict:
    """Decide whether the served model could be a retrained oracle. Over-forgetting fails as remembering does.

    Args:
        served: The comparison of the served model.
        control: The comparison of a model that forgot nothing. If even that one passes, a pass says nothing.
        is_oracle: Whether the served model equals a retrained oracle, bit for bit.
    """
    if is_oracle:
        return AuditVerdict(verdict=Verdict.PASS, reason="bit for bit the retrained oracle")
    faults = [
        fault
        for fault, is_present in (("remembers", served.remembers), ("over-forgets", served.over_forgets))
        if is_present
    ]
    if faults:
        return AuditVerdict(
            verdict=Verdict.FAIL, reason=f"{' and '.join(faults)}: retrained oracles do not differ as much"
        )
    if not control.remembers:
        return AuditVerdict(
            verdict=Verdict.INCONCLUSIVE,
            reason="too few data to say: a model that forgot nothing cannot be distinguished from retrained oracles either",
        )
    return AuditVerdict(
        verdict=Verdict.PASS,
        reason="cannot be distinguished from retrained oracles, and a model that forgot nothing can",
    )


def with_remedy(served: AuditVerdict, *, remedy: Forgetting, untouched: Forgetting, floor: Forgetting) -> AuditVerdict:
    """Add what the repeated remedy says to the verdict on the served model.

    The remedy is told from retraining if U-LiRA's interval is above 0.5. Over a few samples U-LiRA seems to tell retrained
    models from each other too: if the floor's interval is also above 0.5, the remedy's has to be above the floor's accuracy,
    and is inconclusive otherwise. A remedy that is told from retraining fails if its Gaussian KLoM on the forget set is also
    more than `FAR` times the floor's, and is inconclusive if it is nearer. KLoM decides nothing by itself: over a few
    samples, retraining too is often as far from the floor. The worse of both verdicts counts: a good remedy does not excuse
    the model that is served, and a served model that passes by chance does not excuse a remedy that does not forget.

    Args:
        served: The verdict on the served model.
        remedy: The models that the repeated remedy left.
        untouched: The models before.
        floor: Oracles, compared with oracles of other seeds.
    """
    klom, lira = floor.forget.gaussian_klom.mean, remedy.lira
    distance = (
        f"repeated {remedy.models} times, it ended {_times(remedy, klom)} the floor away from retraining "
        f"(untouched: {_times(untouched, klom)}), and U-LiRA told {lira.value:.0%} right ({lira.low:.0%} to {lira.high:.0%}; "
        "50% is a guess)"
    )
    if lira.low <= 0.5:
        verdict, reason = Verdict.PASS, f"{served.reason}; the remedy: {distance}"
    elif floor.lira.low > 0.5 and lira.low <= floor.lira.value:
        verdict = Verdict.INCONCLUSIVE
        reason = (
            f"{served.reason}; the remedy: {distance}, but it told {floor.lira.value:.0%} of retrained models from each "
            "other: there are too few data to say"
        )
    else:
        is_far = remedy.forget.gaussian_klom.mean > FAR * klom
        verdict = Verdict.FAIL if is_far else Verdict.INCONCLUSIVE
        reason = f"the remedy can be told from retraining: {distance}; the model that is served: {served.reason}"
    return AuditVerdict(verdict=worst([served.verdict, verdict]), reason=reason)


def with_retraining(served: AuditVerdict, *, is_equal: bool) -> AuditVerdict:
    """Add whether a retraining that was repeated gave the oracle's bits. If not, nothing shows that it can be."""
    if is_equal:
        return AuditVerdict(
            verdict=served.verdict, reason=f"{served.reason}; the retraining, repeated, gave the oracle's bits again"
        )
    return AuditVerdict(
        verdict=worst([served.verdict, Verdict.INCONCLUSIVE]),
        reason=f"{served.reason}; but the retraining, repeated, gave other bits than training from scratch",
    )


def _times(remedy: Forgetting, klom: float) -> str:
    """Write a KLoM as a multiple of the floor's."""
    return f"{remedy.forget.gaussian_klom.mean / klom:.1f} times" if klom > 0.0 else "without measure beside"
