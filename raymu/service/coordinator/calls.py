"""What a coordinator's calls return."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport:
    """compute_seconds: of all shards together; seconds: of wall time, the fleet's start apart"""

    generation: int
    samples: int
    passes: float
    compute_seconds: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SettleReport:
    """What settling did. request_ids: those whose receipts are exact from now on"""

    generation: int
    shards: tuple[int, ...]
    request_ids: tuple[str, ...]
    passes: float
    compute_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildReport:
    """What was made good. files: that were missing or changed; shards: that were trained again"""

    generation: int
    files: tuple[str, ...]
    shards: tuple[int, ...]
    passes: float
    compute_seconds: float
