"""The result of an audit. Samples are identified by pseudonym, never by id or row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

from raymu.core.audit.forgetting import FloorRatio, Forgetting
from raymu.core.audit.oracle_comparison import Comparison
from raymu.core.audit.roc import Estimate
from raymu.core.records import Remedy
from raymu.core.verdict import Verdict
from raymu.shown_record import ShownRecord
from raymu.text import words

Figure = TypeVar("Figure")
Other = TypeVar("Other")
Role = Literal["served", "oracle", "control"]
RowName = Literal["remedy", "untouched", "control", "other_seed", "exact"]
ROW_NAMES: tuple[RowName, ...] = get_args(RowName)


@dataclass(frozen=True, kw_only=True, slots=True)
class PerModel(Generic[Figure]):
    """A figure of three models, so that none is shown without its baselines."""

    served: Figure
    oracle: Figure
    """Figure of the model that is retrained without the forgotten samples."""
    control: Figure
    """Figure of the model that is fine-tuned without subtracting anything."""

    @classmethod
    def each(cls, figure: Callable[[Role], Figure]) -> "PerModel[Figure]":
        """Compute a figure for each role."""
        return cls(served=figure("served"), oracle=figure("oracle"), control=figure("control"))

    def of(self, role: Role) -> Figure:
        """Return the figure of a role."""
        figure: Figure = getattr(self, role)
        return figure

    def map(self, function: Callable[[Figure], Other]) -> "PerModel[Other]":
        """Apply a function to each figure."""
        return PerModel(served=function(self.served), oracle=function(self.oracle), control=function(self.control))


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyAudit:
    """Accuracies of the ensemble."""

    retain: PerModel[float]
    """On the retained samples of the audited shards."""
    forget: PerModel[float]
    """On the forgotten samples."""
    test: PerModel[float] | None
    """On the test set, if there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackAudit:
    """The power of a membership inference attack to separate forgotten samples from unseen ones."""

    attack: str
    auc: PerModel[Estimate]
    tpr_at_1_percent: PerModel[Estimate] | None
    """True positive rate at a false positive rate of 1%; None if there are too few samples."""
    tpr_at_0_1_percent: PerModel[Estimate] | None
    """True positive rate at a false positive rate of 0.1%; None if there are too few samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpsilonAudit:
    """Empirical lower bounds on the epsilon of training, for the forgotten samples."""

    median: float
    highest: float
    ceiling: float
    """The largest bound that this number of shadow models can show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstSample:
    """A forgotten sample that looks most like a member of the training set."""

    keyed_hash: str
    """Pseudonym of the id."""
    shard: int
    likelihood: PerModel[float]
    """Log likelihood ratio of LiRA: above 0 if the sample looks like a member."""
    loss: PerModel[float]
    """Cross-entropy in nats."""
    epsilon: float
    """Lower bound on epsilon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyRow:
    """One remedy, measured over all repetitions."""

    name: RowName
    """remedy: what was done for the requests. untouched: nothing. control: fine-tuning, without subtracting anything.
    other_seed: retraining with another seed, which is the floor. exact: retraining with the same seed."""
    forgetting: Forgetting
    over_floor: FloorRatio | None
    """None if oracles do not differ from each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyAudit:
    """The remedy of requests, repeated with seeds of its own, and measured by its distance from retraining.

    It says how well the remedy forgets on average. What the run serves is one model of it, on which the verdict is.
    """

    repetitions: int
    samples: int
    """Forgotten samples that are measured: those that are only patched, if there are any."""
    remedies: tuple[Remedy, ...]
    """All that was done for these samples, in alphabetical order."""
    rows: tuple[RemedyRow, ...]
    failed_patches: int
    """Patches of all repetitions that failed, and were replaced by retraining."""
    is_exact: bool | None
    """Whether the retraining, repeated, gave the oracle bit for bit; None if a shard is only patched."""

    def row(self, name: RowName) -> RemedyRow:
        """Return a row by its name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestAudit:
    """The audit of one request, or of all requests together.

    All figures are those of the shards' own models, which reveal more than the ensemble.
    """

    request_ids: tuple[str, ...]
    samples: int
    """Number of audited samples."""
    shards: tuple[int, ...]
    verdict: Verdict
    reason: str
    loss: PerModel[float]
    """Mean cross-entropy over the forget set, in nats."""
    comparison: PerModel[Comparison]
    attacks: tuple[AttackAudit, ...]
    epsilon: EpsilonAudit
    worst: tuple[WorstSample, ...]
    remedy: RemedyAudit | None = None
    """None without repetitions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardAudit:
    """The audit of one shard."""

    shard: int
    is_oracle: bool
    """Whether the served model equals the retrained oracle bit for bit."""
    relearning: PerModel[int | None]
    """Optimizer steps until the loss on the forget set is back at its old value; None if the largest number is too few."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class AuditReport(ShownRecord):
    """The result of an audit."""

    generation: int
    verdict: Verdict
    """The verdict on all requests together; FAIL if one of the requests fails."""
    shadow_models: int
    """Shadow models of each shard."""
    oracles: int
    """Oracles of each shard."""
    accuracy: AccuracyAudit
    together: RequestAudit
    requests: tuple[RequestAudit, ...]
    shards: tuple[ShardAudit, ...]
    exposure: tuple[AttackAudit, ...]
    """Results of the attacks on retained samples, which every model was trained on."""
    passes: float
    """Sample passes of all models."""
    seconds: float
    """Compute seconds of all models."""
    repetitions: int = 0
    """Repetitions of the remedy."""

    @property
    def _facts(self) -> dict[str, object]:
        loss, remedy = self.together.loss, self.together.remedy
        facts: dict[str, object] = {
            "verdict": self.verdict,
            "because": self.together.reason,
            "generation": self.generation,
            "requests": len(self.together.request_ids),
            "samples": self.together.samples,
            "loss on them, nats": f"served {loss.served:.3f}, oracle {loss.oracle:.3f}, control {loss.control:.3f}",
        }
        if remedy is not None and (ratio := remedy.row("remedy").over_floor) is not None:
            done = " and ".join(words(name) for name in remedy.remedies)
            facts["distance from retraining"] = f"{ratio.gaussian_klom:.1f} times the floor, after {done}"
        return facts
