"""The calls on a run's coordinator, and what they return."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from raymu.config import UnlearningConfig
from raymu.core.receipt import Receipt
from raymu.core.stage_measures import StageReport
from raymu.data.frames import TableData
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.messages import ShardLocations

if TYPE_CHECKING:
    from raymu.service.extension import Extension  # which needs PyTorch

Result = TypeVar("Result")


class Call(Generic[Result]):
    """A call on a coordinator, which returns a `Result`. It travels to another process as it is."""

    __slots__ = ()

    answer_within_s: ClassVar[float | None] = None
    """Seconds after which a client gives up; None for as long as the coordinator works."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    generation: int
    samples: int
    passes: float
    """Sample passes of all shards."""
    compute_seconds: float
    """Compute of all shards, summed."""
    seconds: float
    """Wall time without the start of the fleet."""
    stages: tuple[StageReport, ...] = ()
    """The stages that were trained, as they were reported."""
    left_out: int = 0
    """Number of samples that other runs revoked, and that were left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RevokeResult:
    receipts: tuple[Receipt, ...]
    """In the order of the requests."""
    results: tuple[SubmissionResult, ...]
    """What each of them left out, in the same order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettleResult:
    generation: int
    shards: tuple[int, ...]
    """The shards that were retrained, or whose interrupted repair was finished."""
    request_ids: tuple[str, ...]
    """The requests whose receipts became exact."""
    passes: float
    compute_seconds: float
    missed: tuple[str, ...] = ()
    """Those of the requests that became exact only after their due date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildResult:
    generation: int
    files: tuple[str, ...]
    """Paths of the files that were missing or changed."""
    shards: tuple[int, ...]
    """The shards that were trained again."""
    passes: float
    compute_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtendResult:
    generation: int
    samples: int
    """Number of the added samples."""
    left_out: int
    """Number of samples that were revoked earlier, and left out."""
    slices: int
    """Slices of each shard, with the added ones."""
    shards: tuple[int, ...]
    """The shards that were trained on."""
    passes: float
    compute_seconds: float
    conversions: tuple[str, ...] = ()
    """What was converted, as lines for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp(Call[None]):
    """Start the workers, and wait until they answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Train(Call[TrainingResult]):
    """Train every shard and publish the first generation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoke(Call[RevokeResult]):
    """Accept all of these requests or none, and carry them out."""

    revocations: tuple[Revocation, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accept(Call[list[SubmissionResult]]):
    """Accept or refuse each of these requests by itself, and commit the accepted ones. A later call carries them out."""

    revocations: tuple[Revocation, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Submit(Call[list[SubmissionResult]]):
    """Accept or refuse each of these requests by itself, and carry the accepted ones out."""

    revocations: tuple[Revocation, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settle(Call[SettleResult]):
    """Retrain the patched shards, and finish interrupted work."""

    due_by: datetime | None = None
    """Settle only requests that are due by then; None settles all."""
    publish: bool = False
    """Make the repaired states visible that wait for their group, however small it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuild(Call[RebuildResult]):
    """Restore missing or changed files."""

    data: TableData | None = None
    """The files or the table that the run was trained from, for samples that have no other copy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extend(Call[ExtendResult]):
    """Add samples as further slices of their shards, and train the stages of these."""

    extension: "Extension"


@dataclass(frozen=True, kw_only=True, slots=True)
class Configure(Call[None]):
    """Change the settings that later requests use by default."""

    unlearning: UnlearningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Locations(Call[ShardLocations]):
    """Say which actor has which shard in memory."""

    answer_within_s = 10.0  # the answer is shown beside other facts, which are not worth a longer wait
