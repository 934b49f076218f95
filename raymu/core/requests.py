"""An accepted revocation request, and the samples of each shard that it takes out."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from raymu.config.unlearning import Boundary, Strategy


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetSet:
    """The samples of one shard that a request takes out."""

    shard: int
    samples_by_slice: Mapping[int, int]
    """Number of samples of each touched slice."""

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
    """An accepted request: what to forget, and how. The sample ids themselves stay in the store."""

    request_id: str
    payload_sha256: str
    """SHA-256 of the submitted request, which a repetition under the same key must match."""
    key: str | None = None
    """Pseudonym of the caller's idempotency key."""
    strategy: Strategy
    boundary: Boundary
    received_at: datetime
    due_at: datetime
    forget: tuple[ForgetSet, ...]
    """The forget set of each touched shard."""
    hashes: tuple[str, ...]
    """Pseudonyms of the ids and the owner, which stay when the ids are purged."""

    @property
    def samples(self) -> int:
        return sum(part.samples for part in self.forget)

    def part(self, shard: int) -> ForgetSet | None:
        """Return what the request takes out of a shard; None for nothing. Found at once where the parts are in order."""
        position = bisect_left(self.forget, shard, key=lambda part: part.shard)
        if position < len(self.forget) and self.forget[position].shard == shard:
            return self.forget[position]
        return next((part for part in self.forget if part.shard == shard), None)

    @property
    def came_overdue(self) -> bool:
        """Whether it was due before it came."""
        return self.due_at < self.received_at


def touched_slices(requests: Iterable[RevocationRequest], shard: int) -> dict[int, int]:
    """Count the samples that requests together take out of each slice of a shard. Slices without any are left out."""
    touched: dict[int, int] = {}
    for part in filter(None, (request.part(shard) for request in requests)):
        for slice_index, samples in part.samples_by_slice.items():
            touched[slice_index] = touched.get(slice_index, 0) + samples
    return touched
