"""Seconds of a repair: fixed ones and those of its passes, by factors that a run learns from its repairs.

Before the first repair the speed of training and typical fixed seconds stand in. Each repair then corrects the two factors of
its remedy on its device, by an extended Kalman filter on ln(seconds). Earlier repairs fade, but what no repair has shown
stays as doubtful as it was at first (stabilized forgetting: Kulhavy and Zarrop, 1993).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import exp, log, sqrt
from statistics import NormalDist, median

from raymu.core.records import Cost, Remedy

MEMORY = 0.9
"""Weight of each repair in the estimate relative to the next one, so that about the last ten count."""
FIRST_SPREAD = 0.3
"""Standard deviation of ln(seconds / forecast) that is assumed at first, with the weight of one repair."""
LEAST_SPREAD = 0.03
"""Least standard deviation of ln(seconds / forecast) that is ever assumed."""
TRAINING_DOUBT = 0.3
"""Standard deviation of the logarithms of retraining's factors before any repair: training has shown its speed."""
PATCHING_DOUBT = 1.0
"""The same for patches, whose first forecast is right within a factor of about three."""
COVERAGE = 0.9
"""Share of repairs, in the long run, whose seconds are within their interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairEffort:
    """The seconds that a repair would take if training's speed and the typical fixed seconds held for it."""

    fixed_s: float
    """Seconds that do not depend on the number of samples: restoring models, beginning stages, writing files."""
    passes_s: float
    """Seconds of its sample passes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionInterval:
    """Predicted seconds of compute of a repair."""

    low_s: float
    expected_s: float
    """The median."""
    high_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairSpeed:
    """What the repairs by one remedy on one kind of device have shown of its speed."""

    doubt: float
    """Standard deviation of the logarithm of each factor before any repair."""
    repairs: int = 0
    forecast_seconds: float = 0.0
    """Total forecast seconds of compute."""
    seconds: float = 0.0
    """Total actual seconds of compute."""
    ended_early: float = 0.0
    """Running weighted sum of the repairs that took less than half their forecast passes."""
    within: int = 0
    """Repairs whose seconds were within the interval that was predicted for them."""
    log_fixed: float = 0.0
    """Logarithm of the factor on fixed seconds."""
    log_passes: float = 0.0
    """Logarithm of the factor on the seconds of passes."""
    evidence: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Running weighted sums of a^2, a*b and b^2, where a and b = 1 - a are the shares of fixed seconds and of passes."""
    fixed_share: float = 0.0
    """The share of fixed seconds in the last repair."""
    weight: float = 1.0
    """Running sum of the weights."""
    deviation: float = FIRST_SPREAD**2
    """Running weighted sum of squared errors of ln(seconds), each relative to what the doubt about the factors explains."""

    def seconds_of(self, effort: RepairEffort) -> float:
        """Forecast the seconds of a repair."""
        return self.fixed_seconds_of(effort) + exp(self.log_passes) * effort.passes_s

    def fixed_seconds_of(self, effort: RepairEffort) -> float:
        """Forecast the part of them that does not depend on the passes."""
        return exp(self.log_fixed) * effort.fixed_s

    def interval(self, effort: RepairEffort) -> PredictionInterval:
        """Return the interval of a repair's seconds. Where patches often have nothing to do, it begins at such a one."""
        expected = self.seconds_of(effort)
        reach = exp(_REACH * self._std(self._fixed_share(effort)))
        ends_early = self.ended_early / self.weight > (1.0 - COVERAGE) / 2.0
        least = self.fixed_seconds_of(effort) if ends_early else expected
        return PredictionInterval(low_s=least / reach, expected_s=expected, high_s=expected * reach)

    @property
    def error_ratio(self) -> float:
        """Bound of seconds / forecast of the next repair if it is like the last one; its inverse is the lower bound."""
        return exp(_REACH * self._std(self.fixed_share))

    def after(
        self, planned: RepairEffort, effort: RepairEffort, *, seconds: float, forecast_seconds: float
    ) -> "RepairSpeed":
        """Return what is known after another repair.

        Args:
            planned: The effort by its forecast passes.
            effort: The effort by its actual passes, more than 0. A patch that finds nothing to do takes few.
            seconds: Its actual seconds of compute, more than 0.
            forecast_seconds: The seconds that were forecast when it was decided on.
        """
        ended_early = 2.0 * effort.passes_s < planned.passes_s
        compared = (
            effort if ended_early else planned
        )  # so that passes that are forecast too high or too low are learned too
        share = self._fixed_share(compared)
        error = log(seconds / self.seconds_of(compared))
        interval = self.interval(planned)
        surprise = error**2 / (1.0 + self._doubt_at(share))
        squares, product, other_squares = (MEMORY * term for term in self.evidence)
        learned = replace(
            self,
            evidence=(
                squares + share**2,
                product + share * (1.0 - share),
                other_squares + (1.0 - share) ** 2,
            ),
        )
        fixed_gain, passes_gain = learned._covariance_times(share)
        return replace(
            learned,
            repairs=self.repairs + 1,
            forecast_seconds=self.forecast_seconds + forecast_seconds,
            seconds=self.seconds + seconds,
            ended_early=MEMORY * self.ended_early + ended_early,
            within=self.within + (interval.low_s <= seconds <= interval.high_s),
            log_fixed=self.log_fixed + fixed_gain * error,
            log_passes=self.log_passes + passes_gain * error,
            fixed_share=share,
            weight=MEMORY * self.weight + 1.0,
            deviation=MEMORY * self.deviation + surprise,
        )

    def _fixed_share(self, effort: RepairEffort) -> float:
        """Return the share of fixed seconds in the forecast: its derivative by the logarithm of their factor."""
        expected = self.seconds_of(effort)
        return self.fixed_seconds_of(effort) / expected if expected > 0.0 else 0.0

    def _std(self, fixed_share: float) -> float:
        """Return the standard deviation of ln(seconds / forecast), which includes the doubt about the factors."""
        return sqrt(self._variance * (1.0 + self._doubt_at(fixed_share)))

    @property
    def _variance(self) -> float:
        """Variance of ln(seconds) if the factors were known."""
        return max(LEAST_SPREAD**2, self.deviation / self.weight)

    def _doubt_at(self, fixed_share: float) -> float:
        """Return the variance of ln(forecast) that the doubt about the factors causes, relative to that of the noise."""
        fixed, passes = self._covariance_times(fixed_share)
        return fixed_share * fixed + (1.0 - fixed_share) * passes

    def _covariance_times(self, fixed_share: float) -> tuple[float, float]:
        """Multiply the covariance of the two logarithms, relative to the variance of the noise, with the shares.

        The first doubt bounds it.
        """
        prior = self._variance / self.doubt**2
        squares, product, other_squares = self.evidence
        first, last = squares + prior, other_squares + prior
        determinant = first * last - product**2
        passes_share = 1.0 - fixed_share
        return (
            (last * fixed_share - product * passes_share) / determinant,
            (first * passes_share - product * fixed_share) / determinant,
        )


_REACH = NormalDist().inv_cdf((1.0 + COVERAGE) / 2.0)
_NOTHING_LEARNED: Mapping[Remedy, RepairSpeed] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairSpeeds:
    """What a run's repairs have shown of the speed of each remedy, on each kind of device."""

    device: str = ""
    """The kind of device of the last repair, which the next ones are forecast for."""
    by_device: Mapping[str, Mapping[Remedy, RepairSpeed]] = field(default_factory=dict)

    def of(self, remedy: Remedy) -> RepairSpeed:
        """Return the speed of a remedy, learned or not."""
        first = RepairSpeed(doubt=TRAINING_DOUBT if remedy is Remedy.RETRAIN else PATCHING_DOUBT)
        return self.by_device.get(self.device, _NOTHING_LEARNED).get(remedy, first)

    def after(
        self,
        remedy: Remedy,
        planned: RepairEffort,
        effort: RepairEffort,
        *,
        seconds: float,
        forecast_seconds: float,
        determinism: str,
    ) -> "RepairSpeeds":
        """Return what is known after a repair, as `RepairSpeed.after`.

        `determinism` is its determinism class, as JSON. A simulated repair has none: it is on the present kind of device.
        """
        if seconds <= 0.0 or effort.fixed_s + effort.passes_s <= 0.0:
            return self
        device = device_kind(determinism) or self.device
        there = replace(self, device=device)
        speed = there.of(remedy).after(planned, effort, seconds=seconds, forecast_seconds=forecast_seconds)
        learned = {**self.by_device.get(device, _NOTHING_LEARNED), remedy: speed}
        return replace(there, by_device={**self.by_device, device: learned})


def device_kind(determinism: str) -> str:
    """Name what the speed depends on in a determinism class: device, threads and the workers of a shard."""
    members = json.loads(determinism) if determinism else {}
    return ", ".join(f"{name} {members[name]}" for name in ("device", "threads", "workers") if name in members)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSpeed:
    """The speed at which a shard is trained."""

    seconds_per_pass: float
    seconds_per_stage: float = 0.0
    """Seconds of a stage beyond those of its passes."""


def training_speed(stages: Sequence[Cost]) -> TrainingSpeed:
    """Measure the speed from the stages of a training, of which one may have been slow (Theil, 1950; Sen, 1968).

    Without stages of different sizes, all seconds are counted as those of passes.
    """
    slopes = [
        (other.seconds - stage.seconds) / (other.passes - stage.passes)
        for stage, other in combinations(stages, 2)
        if other.passes != stage.passes
    ]
    per_pass = median(slopes) if slopes else 0.0
    per_stage = median(stage.seconds - per_pass * stage.passes for stage in stages) if slopes else 0.0
    if per_pass > 0.0 and per_stage > 0.0:
        return TrainingSpeed(seconds_per_pass=per_pass, seconds_per_stage=per_stage)
    passes = sum(stage.passes for stage in stages)
    return TrainingSpeed(seconds_per_pass=sum(stage.seconds for stage in stages) / max(passes, 1.0))


def update_seconds_per_pass(before: float, *, whole_passes: float, passes: float, seconds: float) -> float:
    """Return a shard's seconds per pass after another training.

    Args:
        before: The earlier value, which weighs as much as one training of the whole shard.
        whole_passes: Sample passes of training the whole shard.
        passes: Sample passes of the new training.
        seconds: Their seconds of compute.
    """
    if not passes:
        return before
    return (before * whole_passes + seconds) / (whole_passes + passes)
