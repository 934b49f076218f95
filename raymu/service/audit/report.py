"""What an audit reports. Samples are named by keyed hash and by row number, never by id."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from raymu.core.audit.oracle_comparison import Comparison
from raymu.core.audit.roc import Estimate
from raymu.core.verdict import Verdict

Figure = TypeVar("Figure")
Other = TypeVar("Other")
Role = Literal["served", "oracle", "control"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PerModel(Generic[Figure]):
    """One figure of what is served, of the retrained oracle, and of the control, which subtracts nothing."""

    served: Figure
    oracle: Figure
    control: Figure

    @classmethod
    def each(cls, figure: Callable[[Role], Figure]) -> "PerModel[Figure]":
        return cls(served=figure("served"), oracle=figure("oracle"), control=figure("control"))

    def of(self, role: Role) -> Figure:
        figure: Figure = getattr(self, role)
        return figure

    def map(self, function: Callable[[Figure], Other]) -> "PerModel[Other]":
        return PerModel(served=function(self.served), oracle=function(self.oracle), control=function(self.control))


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyAudit:
    """Of the ensemble, as shares of correct answers. retain: the touched shards' samples; test: None without a test set"""

    retain: PerModel[float]
    forget: PerModel[float]
    test: PerModel[float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackAudit:
    """How well an attack tells samples from unseen ones. tpr_*: at this false positive rate, None for want of samples"""

    attack: str
    auc: PerModel[Estimate]
    tpr_at_1_percent: PerModel[Estimate] | None
    tpr_at_0_1_percent: PerModel[Estimate] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EpsilonAudit:
    """Lower bounds on what training shows of a forgotten sample, were it in; ceiling: the most that the models can show"""

    median: float
    highest: float
    ceiling: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstSample:
    """A forgotten sample that looks most like a member.

    row: in the audited file, from 0; pseudonym: as in the receipt; loss: in nats
    likelihood: LiRA's log ratio, above 0 where it looks seen; epsilon: lower bound
    """

    row: int
    pseudonym: str
    shard: int
    likelihood: PerModel[float]
    loss: PerModel[float]
    epsilon: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestAudit:
    """Of one request, or of all together. samples: that were audited

    loss: mean over the forget set, in nats; like all but the accuracy it is that of each shard's own model, which shows
    more than the ensemble does
    """

    request_ids: tuple[str, ...]
    samples: int
    shards: tuple[int, ...]
    verdict: Verdict
    reason: str
    loss: PerModel[float]
    comparison: PerModel[Comparison]
    attacks: tuple[AttackAudit, ...]
    epsilon: EpsilonAudit
    worst: tuple[WorstSample, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardAudit:
    """relearning: optimizer steps until the forget set's loss is what it was, None past the most that are tried

    is_oracle: whether what is served is, bit for bit, the retrained oracle
    """

    shard: int
    is_oracle: bool
    relearning: PerModel[int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """verdict: on all requests together, FAIL where one of them fails. exposure: what attacks find on retained samples

    shadow_models, oracles: trained for each shard; passes, seconds: that all models took, of compute
    """

    generation: int
    verdict: Verdict
    shadow_models: int
    oracles: int
    accuracy: AccuracyAudit
    together: RequestAudit
    requests: tuple[RequestAudit, ...]
    shards: tuple[ShardAudit, ...]
    exposure: tuple[AttackAudit, ...]
    passes: float
    seconds: float
