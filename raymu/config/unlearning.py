"""Settings of the branch `unlearning`, and the vocabularies that they are made of."""

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

import pydantic.dataclasses
from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from raymu.config import limits
from raymu.config.fields import STRICT, Count, CountFromZero, Duration, Positive


class Strategy(StrEnum):
    """The rule that chooses each shard's remedy (Li et al., arXiv 2412.14505; SISA: Bourtoule et al., S&P 2021)."""

    SISA = "sisa"
    """Retrain every affected shard."""
    DPUS = "dpus"
    """Patch every affected shard."""
    HS = "hs"
    """Retrain a shard up to the hybrid boundary, and patch it beyond."""
    OHS = "ohs"
    """As `hs`, with training after the patch (see `OhsRemedy`)."""


class BoundaryKind(StrEnum):
    """The quantity that a hybrid boundary limits."""

    FRACTION = "fraction"
    """Retraining passes of one shard, as a fraction of those of the whole shard."""
    SECONDS = "seconds"
    """Seconds of compute that retraining one shard takes."""
    DEADLINE = "deadline"
    """Seconds of makespan over the workers at hand, for all shards of a batch together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """The hybrid boundary: the largest workload that is retrained rather than patched."""

    kind: BoundaryKind
    value: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.value < math.inf:
            raise ValueError(
                f"boundary {self.value} is not a finite number from 0 up; to retrain at any cost, use sisa"
            )
        if self.kind is BoundaryKind.FRACTION and self.value > 1.0:
            raise ValueError(f"boundary {self.value} is over 1; give a fraction of the shard, or seconds such as 30s")

    @classmethod
    def parse(cls, text: float | str) -> Self:
        """Read `0.35`, `30s` or `deadline:60s`. Raises ValueError for anything else."""
        kind, number = BoundaryKind.FRACTION, str(text)
        if number.startswith("deadline:"):
            kind, number = BoundaryKind.DEADLINE, number.removeprefix("deadline:").removesuffix("s")
        elif number.endswith("s"):
            kind, number = BoundaryKind.SECONDS, number.removesuffix("s")
        try:
            value = float(number)
        except ValueError:
            raise ValueError(f"boundary {text!r} is not of the form 0.35, 30s or deadline:60s") from None
        return cls(kind=kind, value=value)

    def __str__(self) -> str:
        """Six digits of the value, in the form that `parse` reads."""
        return self._written(f"{self.value:g}")

    def setting(self) -> float | str:
        """Return the exact value in the form that `parse` reads. A fraction is a number."""
        return self.value if self.kind is BoundaryKind.FRACTION else self._written(f"{self.value!r}".removesuffix(".0"))

    def _written(self, number: str) -> str:
        match self.kind:
            case BoundaryKind.FRACTION:
                return number
            case BoundaryKind.SECONDS:
                return f"{number}s"
            case BoundaryKind.DEADLINE:
                return f"deadline:{number}s"


class Contributions(StrEnum):
    """The updates that a patch subtracts. It is not known how the published method computes them."""

    CURVATURE = "curvature"
    """The forget set's gradient, times the inverse curvature of retained samples; nothing is recorded."""
    GRADIENT = "gradient"
    """A step against the forget set's present gradient; nothing is recorded."""
    GROUP = "group"
    """One accumulated update for each fixed batch and stage, scaled by its forgotten share."""
    BATCH = "batch"
    """Every step's update, subtracted whole (Amnesiac unlearning, Graves et al., AAAI 2021)."""

    @property
    def is_recorded(self) -> bool:
        """Whether training records these updates, so that a run has to be trained for them."""
        return self in (Contributions.GROUP, Contributions.BATCH)

    def may_become(self, other: "Contributions") -> bool:
        """Tell whether a run that was trained for these may be patched by others: if neither is recorded."""
        return self is other or not (self.is_recorded or other.is_recorded)


class Preconditioner(StrEnum):
    """The matrix, easy to invert, that brings conjugate gradients near their solution in a few iterations."""

    KFAC = "kfac"
    """Kronecker factors of linear and convolutional layers (Martens and Grosse, ICML 2015)."""
    NONE = "none"


class OnAccept(StrEnum):
    """The model that an affected shard serves from the acceptance of a request until its remedy is published."""

    REWIND = "rewind"
    """Its newest checkpoint that never saw the forgotten samples."""
    ABSTAIN = "abstain"
    """None: the shard does not vote."""
    KEEP = "keep"
    """The one that it served before."""


class AggregationName(StrEnum):
    """The rule that combines the constituents' predictions."""

    MEAN_PROBABILITY = "mean_probability"
    MAJORITY_VOTE = "majority_vote"
    SIZE_WEIGHTED = "size_weighted"


class OhsRemedy(StrEnum):
    """The remedy of `ohs` beyond the hybrid boundary."""

    FINE_TUNE = "fine_tune"
    """Fine-tune on the last slices, then patch."""
    REPLAY = "replay"
    """Patch the checkpoint before the last stages, then train these again."""


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class OhsConfig:
    """Settings of the remedy of `ohs` beyond the hybrid boundary."""

    remedy: OhsRemedy = OhsRemedy.REPLAY
    """Patch and train the last stages again, or fine-tune and patch."""
    slices: Annotated[int, Field(ge=1, le=limits.MAX_SLICES)] = 1
    """Number of the last slices to fine-tune on, or of the last stages to replay."""
    epochs: Annotated[int, Field(ge=1, le=limits.MAX_EPOCHS)] = 3
    """Most epochs of fine-tuning; it ends earlier if the loss on unseen samples stops improving."""


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class CurvatureConfig:
    """Settings of `contributions: curvature`."""

    samples: Count = 1000
    """Retained samples that the curvature is estimated from. The cost of a patch is proportional to them."""
    iterations: CountFromZero = 4
    """Iterations of conjugate gradients in each step; 0 applies the inverse of the preconditioner instead."""
    damping: Positive = 0.001
    """Added to the diagonal of the Gauss-Newton matrix of the mean loss. Larger values shorten a step where it is flat."""
    steps: Count = 1
    """Steps of a patch, each an equal share of the way, along a direction computed anew."""
    preconditioner: Preconditioner = Preconditioner.KFAC
    """What speeds the conjugate gradients up."""
    calibration_samples: CountFromZero = 256
    """Samples that the strength is measured on at least: the forget set, and retained samples drawn to complete it.

    With 0, the strength is whatever brings the forget set's own loss to that of models which never saw it, however far.
    """

    @model_validator(mode="after")
    def _has_a_direction(self) -> "CurvatureConfig":
        if not self.iterations and self.preconditioner is Preconditioner.NONE:
            raise ValueError("0 iterations need the preconditioner kfac: without both, no curvature is used")
        return self


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class PublishConfig:
    """When repairs become visible: together, so that predictions before and after tell less of each deletion."""

    at_least: Count
    """Number of repaired requests that become visible together. A request counts once, however many samples it names."""
    every: Duration = timedelta(days=1)
    """Longest time that the first of them waits for the others, such as "1h"."""


def _boundary(setting: float | str | Boundary) -> Boundary:
    return setting if isinstance(setting, Boundary) else Boundary.parse(setting)


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class UnlearningConfig:
    """Defaults of every revocation request, and what training records for them."""

    strategy: Strategy = Strategy.HS
    """The strategy of requests that name none."""
    boundary: Annotated[Boundary, PlainValidator(_boundary), PlainSerializer(Boundary.setting)] = Boundary(
        kind=BoundaryKind.FRACTION, value=0.35
    )
    """Hybrid boundary: a fraction (0.35), compute seconds of a shard ("30s"), or a makespan ("deadline:60s")."""
    contributions: Contributions = Contributions.CURVATURE
    """What a patch subtracts."""
    curvature: CurvatureConfig = Field(default_factory=CurvatureConfig)
    """Settings of contributions `curvature`."""
    groups_per_slice: Count | None = None
    """Number of fixed batches of a slice, for `group`. It is a setting because it may not depend on the data."""
    calibration: bool = True
    """Patch at the strength that brings the loss to that of models which never saw the samples."""
    on_accept: OnAccept = OnAccept.REWIND
    """What an affected shard serves until it is repaired."""
    aggregation: AggregationName = AggregationName.MEAN_PROBABILITY
    """How the predictions of all shards become one."""
    ohs: OhsConfig = Field(default_factory=OhsConfig)
    """What `ohs` does beyond the hybrid boundary."""
    publish: PublishConfig | None = None
    """When repaired shards serve their repaired states: each at once, or those of a group of requests together."""

    @model_validator(mode="after")
    def _forgets_while_a_group_waits(self) -> "UnlearningConfig":
        if self.publish is not None and self.on_accept is OnAccept.KEEP:
            raise ValueError(
                "publish needs on_accept rewind or abstain: with keep, predictions would come from states that saw the "
                "forgotten samples for as long as a group waits"
            )
        return self
