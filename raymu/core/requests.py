"""What a user asks for: whose samples to forget, and how."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self


class Strategy(StrEnum):
    """What the user asks for (Li et al., arXiv 2412.14505; SISA: Bourtoule et al., S&P 2021)."""

    SISA = "sisa"
    DPUS = "dpus"
    HS = "hs"
    OHS = "ohs"


class BoundaryKind(StrEnum):
    FRACTION = "fraction"
    SECONDS = "seconds"
    DEADLINE = "deadline"


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """The hybrid boundary.

    FRACTION: of the whole shard's retraining passes. SECONDS: of one shard's retraining compute.
    DEADLINE: seconds of makespan over the workers at hand, for all shards of a batch together.
    """

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
        """`0.35`, `30s` or `deadline:60s`. Raises ValueError for anything else."""
        kind, number = BoundaryKind.FRACTION, str(text)
        if number.startswith("deadline:"):
            kind, number = BoundaryKind.DEADLINE, number.removeprefix("deadline:").removesuffix("s")
        elif number.endswith("s"):
            kind, number = BoundaryKind.SECONDS, number.removesuffix("s")
        try:
            value = float(number)
        except ValueError:
            raise ValueError(f"boundary {text!r} is none of 0.35, 30s or deadline:60s") from None
        return cls(kind=kind, value=value)

    def __str__(self) -> str:
        match self.kind:
            case BoundaryKind.FRACTION:
                return f"{self.value:g}"
            case BoundaryKind.SECONDS:
                return f"{self.value:g}s"
            case BoundaryKind.DEADLINE:
                return f"deadline:{self.value:g}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetSet:
    """The samples of one shard that a request takes out. samples_by_slice: slice -> how many."""

    shard: int
    samples_by_slice: Mapping[int, int]

    def __post_init__(self) -> None:
        if not self.samples_by_slice or min(self.samples_by_slice.values()) < 1:
            raise ValueError(f"shard {self.shard}: a forget set holds at least one sample in each slice that it names")

    @property
    def samples(self) -> int:
        return sum(self.samples_by_slice.values())

    @property
    def earliest_slice(self) -> int:
        return min(self.samples_by_slice)


@dataclass(frozen=True, kw_only=True, slots=True)
class RevocationRequest:
    """An accepted request: what to forget, and how. The sample ids themselves stay in the store.

    payload_sha256: over what was asked; key: keyed hash of the caller's idempotency key
    hashes: keyed, of the ids and the owner; they stay when the ids are purged
    """

    request_id: str
    payload_sha256: str
    key: str | None = None
    strategy: Strategy
    boundary: Boundary
    received_at: datetime
    due_at: datetime
    forget: tuple[ForgetSet, ...]
    hashes: tuple[str, ...]

    @property
    def samples(self) -> int:
        return sum(part.samples for part in self.forget)


def touched_slices(requests: Iterable[RevocationRequest], shard: int) -> dict[int, int]:
    """Count the samples that requests together take out of each slice of a shard. Slices without any are left out."""
    touched: dict[int, int] = {}
    for part in (part for request in requests for part in request.forget if part.shard == shard):
        for slice_index, samples in part.samples_by_slice.items():
            touched[slice_index] = touched.get(slice_index, 0) + samples
    return touched
