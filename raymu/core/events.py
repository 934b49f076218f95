"""The events of a run. The journal stores them, and every state is a replay of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from raymu.config import UnlearningConfig
from raymu.core.commands import RepairReport
from raymu.core.records import FileRef, ShardLineage
from raymu.core.requests import RevocationRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTrained:
    """Every shard is trained."""

    at: datetime
    lineages: tuple[ShardLineage, ...]
    workers: int
    """Number of shards that the fleet trained side by side."""
    kind: Literal["trained"] = "trained"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunExtended:
    """Samples are added to every shard as further slices, whose stages are to be trained."""

    at: datetime
    tables: tuple[FileRef, ...]
    """For each shard, its retained samples and the added ones."""
    slice_samples: tuple[tuple[int, ...], ...]
    """For each shard, the number of samples in each added slice."""
    epochs: tuple[int, ...]
    """Epochs of the stage of each added slice."""
    left_out: int = 0
    """Number of samples of the user's table that were revoked earlier, and left out."""
    conversions: tuple[str, ...] = ()
    """What was converted when the user's table was read, as lines for people."""
    indexes: tuple[FileRef | None, ...] = ()
    """The index of each of these tables; empty in an event of an earlier version."""
    routes: tuple[FileRef, ...] | None = None
    """Routes to the added samples, none where every home follows from the id; None in an event of an earlier version."""
    kind: Literal["extended"] = "extended"

    @property
    def samples(self) -> int:
        """Number of the added samples."""
        return sum(map(sum, self.slice_samples))


@dataclass(frozen=True, kw_only=True, slots=True)
class RevocationsAccepted:
    """Requests are accepted together, and served together."""

    at: datetime
    requests: tuple[RevocationRequest, ...]
    generation: int
    """Number of the generation served until then."""
    is_part: bool = False
    """Whether they are part of a large submission, which is served as a whole from `WorkResumed` on."""
    kind: Literal["accepted"] = "accepted"


@dataclass(frozen=True, kw_only=True, slots=True)
class SettleRequested:
    """The patched ones of these shards are to be retrained."""

    at: datetime
    shards: tuple[int, ...]
    anew: tuple[int, ...] = ()
    """Inconclusive shards that are to be trained again from their first stage, in one determinism class."""
    kind: Literal["settle"] = "settle"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRepaired:
    """A repair is done."""

    at: datetime
    report: RepairReport
    kind: Literal["repaired"] = "repaired"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFailed:
    """A repair failed. Its requests stay accepted and are served by a later one."""

    at: datetime
    shard: int
    command_id: str
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkResumed:
    """Work that waits, after failures or as part of a large submission, begins."""

    at: datetime
    kind: Literal["resumed"] = "resumed"


@dataclass(frozen=True, kw_only=True, slots=True)
class DamageFound:
    """Files of the run are missing or changed."""

    at: datetime
    first_stages: Mapping[int, int]
    """Damaged shard -> first stage that must be trained again."""
    kind: Literal["damaged"] = "damaged"


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupReleased:
    """The repaired states that wait for a group become visible, although the group is smaller than it should be."""

    at: datetime
    kind: Literal["released"] = "released"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlearningConfigured:
    """The run's settings of unlearning are changed, for requests that do not choose their own."""

    at: datetime
    unlearning: UnlearningConfig
    kind: Literal["configured"] = "configured"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationPublished:
    """A generation is served from now on."""

    at: datetime
    number: int
    manifest_sha256: str
    """SHA-256 of the generation's file, in hex."""
    rewound: tuple[str, ...] = ()
    """Requests whose shards are rewound from this generation on."""
    repaired: tuple[str, ...] = ()
    """Requests that every shard is repaired for from this generation on."""
    settled: tuple[str, ...] = ()
    """Requests that some shard had patched and every shard is retrained for from this generation on."""
    base: int | None = None
    """The whole generation that its file, a record of changes, builds on; None if its file is whole."""
    weight: int = 0
    """Weight of all records since that one; 0 if its file is whole."""
    kind: Literal["published"] = "published"

    @property
    def numbers(self) -> range:
        """The generations whose files make up this one, the whole one first."""
        return range(self.number if self.base is None else self.base, self.number + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestsPurged:
    """Superseded files and the raw ids of requests are destroyed."""

    at: datetime
    request_ids: tuple[str, ...]
    files: tuple[FileRef, ...]
    """The superseded files."""
    rows: int
    """Number of the run's own copies of revoked samples that were in them."""
    kind: Literal["purged"] = "purged"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationEvaluated:
    """A generation is evaluated on the run's test data."""

    at: datetime
    number: int
    samples: int
    accuracy: float
    """Share of correct predictions among the samples."""
    kind: Literal["evaluated"] = "evaluated"


Event: TypeAlias = (
    RunTrained
    | RunExtended
    | RevocationsAccepted
    | SettleRequested
    | ShardRepaired
    | ShardFailed
    | WorkResumed
    | DamageFound
    | GroupReleased
    | UnlearningConfigured
    | GenerationPublished
    | RequestsPurged
    | GenerationEvaluated
)
