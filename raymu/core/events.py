"""What happens to a run. The journal keeps these events; state is a replay of them."""

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
    """workers: how many shards the fleet trained side by side"""

    at: datetime
    lineages: tuple[ShardLineage, ...]
    workers: int
    kind: Literal["trained"] = "trained"


@dataclass(frozen=True, kw_only=True, slots=True)
class RevocationsAccepted:
    """Requests that came in together, and are served together. generation: the one served before"""

    at: datetime
    requests: tuple[RevocationRequest, ...]
    generation: int
    is_part: bool = False
    """Whether they are part of a large submission: all of it is served together, from `WorkResumed` on."""
    kind: Literal["accepted"] = "accepted"


@dataclass(frozen=True, kw_only=True, slots=True)
class SettleRequested:
    at: datetime
    shards: tuple[int, ...]
    kind: Literal["settle"] = "settle"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRepaired:
    at: datetime
    report: RepairReport
    kind: Literal["repaired"] = "repaired"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFailed:
    """A remedy that did not come back: its requests stay accepted, and are taken up again."""

    at: datetime
    shard: int
    command_id: str
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkResumed:
    """What failures left waiting, or to be settled, is begun again."""

    at: datetime
    kind: Literal["resumed"] = "resumed"


@dataclass(frozen=True, kw_only=True, slots=True)
class DamageFound:
    """Files of the run are missing or changed. first_stages: shard -> the first stage that must be trained again"""

    at: datetime
    first_stages: Mapping[int, int]
    kind: Literal["damaged"] = "damaged"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlearningConfigured:
    """The run's settings were changed: from here on requests that name nothing else go by these."""

    at: datetime
    unlearning: UnlearningConfig
    kind: Literal["configured"] = "configured"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationPublished:
    """repaired and settled: the requests whose remedy, or whose exact retraining, this generation completes."""

    at: datetime
    number: int
    manifest_sha256: str
    rewound: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    kind: Literal["published"] = "published"


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestsPurged:
    """files: superseded ones, which were destroyed; rows: how many of the run's own copies of revoked samples."""

    at: datetime
    request_ids: tuple[str, ...]
    files: tuple[FileRef, ...]
    rows: int
    kind: Literal["purged"] = "purged"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationEvaluated:
    """A generation was measured on the run's test data. accuracy: share of correct answers among so many samples"""

    at: datetime
    number: int
    samples: int
    accuracy: float
    kind: Literal["evaluated"] = "evaluated"


Event: TypeAlias = (
    RunTrained
    | RevocationsAccepted
    | SettleRequested
    | ShardRepaired
    | ShardFailed
    | WorkResumed
    | DamageFound
    | UnlearningConfigured
    | GenerationPublished
    | RequestsPurged
    | GenerationEvaluated
)
