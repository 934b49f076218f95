"""Requests over time, and the samples that they may revoke."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from raymu.core.partition import Hashes, Indices, identity_hashes
from raymu.core.records import SampleId
from raymu.errors import TraceInvalid
from raymu.text import plural

LATEST_S = 1e11
"""Latest time of a request, about 3000 years: more than the present in Unix seconds, less than it in milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TracedRequest:
    """A request for samples by id, or for all samples of an owner."""

    at_s: float
    """Seconds from the start of the trace."""
    ids: tuple[SampleId, ...] = ()
    owner: SampleId | None = None

    def __post_init__(self) -> None:
        if (self.owner is None) == (not self.ids):
            raise TraceInvalid(f"a request at {self.at_s:g} s must name ids, or an owner, and not both")
        if not (isfinite(self.at_s) and self.at_s >= 0.0):
            raise TraceInvalid(f"a request is at {self.at_s} s; times are seconds from 0 up")
        if self.at_s > LATEST_S:
            raise TraceInvalid(f"a request is at {self.at_s:g} s; times are seconds, and these look like milliseconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Requests that are submitted together."""

    at_s: float
    """Seconds from the start of the trace."""
    indices: tuple[int, ...]
    """Indices of the requests in the trace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Requests in the order of their arrival, at least one."""

    requests: tuple[TracedRequest, ...]

    def __post_init__(self) -> None:
        if not self.requests:
            raise TraceInvalid("the trace holds no requests; it needs at least one")
        for number, (request, after) in enumerate(pairwise(self.requests), start=2):
            if after.at_s < request.at_s:
                raise TraceInvalid(
                    f"request {number} is at {after.at_s:g} s, before the one above it at {request.at_s:g} s; sort by time"
                )

    def batches(self, window_s: float) -> Iterator[Batch]:
        """Split the trace into batches: a request opens a window, and what arrives within it is submitted at its end.

        Args:
            window_s: Length of the window in seconds; 0 submits requests at once, together with those of the same moment.
        """
        indices: list[int] = []
        closes_s = 0.0
        for index, request in enumerate(self.requests):
            if indices and request.at_s > closes_s:
                yield Batch(at_s=closes_s, indices=tuple(indices))
                indices = []
            if not indices:
                closes_s = request.at_s + window_s
            indices.append(index)
        yield Batch(at_s=closes_s, indices=tuple(indices))


@dataclass(frozen=True, kw_only=True, eq=False)
class RevocableSamples:
    """The samples that requests may revoke, and the home of each."""

    ids: npt.NDArray[Any]
    """(samples,) int64 or str objects, distinct."""
    shards: Indices
    """(samples,) int64."""
    slices: Indices
    """(samples,) int64."""
    labels: npt.NDArray[np.int64]
    """(samples,) int64."""
    owners: npt.NDArray[np.object_] | None = None
    """(samples,) objects, None for a sample without an owner; None if owners are not known."""
    shard_count: int
    slice_count: int

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def hashes(self) -> Hashes:
        """(samples,) uint64 hashes of the ids, the same for every run."""
        return identity_hashes(self.ids.tolist(), seed=0, purpose="traffic")

    @cached_property
    def rows_of_owner(self) -> dict[str, Indices]:
        """The rows of each owner's samples, by the owner's text."""
        rows: dict[str, list[int]] = {}
        for row, owner in enumerate([] if self.owners is None else self.owners):
            if owner is not None:
                rows.setdefault(str(owner), []).append(row)
        return {owner: np.array(owned, dtype=np.int64) for owner, owned in rows.items()}

    @property
    def slice_samples(self) -> npt.NDArray[np.int64]:
        """(shards, slices) int64 number of samples."""
        cells = self.shards * self.slice_count + self.slices
        counts = np.bincount(cells, minlength=self.shard_count * self.slice_count)
        return counts.reshape(self.shard_count, self.slice_count)

    def rows_of(self, trace: Trace) -> list[Indices]:
        """Return the rows that each request revokes. An owner's request revokes those that no earlier request did.

        Raises TraceInvalid for an unknown sample, and for one that is named again.
        """
        is_left = np.ones(len(self), dtype=bool)
        revoked: list[Indices] = []
        for number, request in enumerate(trace.requests, start=1):
            if request.owner is None:
                rows = self._rows(request.ids, number)
                self._require_left(rows, is_left, number)
            else:
                owned = self.rows_of_owner.get(str(request.owner), np.empty(0, dtype=np.int64))
                rows = owned[is_left[owned]]
                if not len(rows):
                    raise TraceInvalid(f"request {number} names owner {request.owner}, of whom no sample is left")
            is_left[rows] = False
            revoked.append(rows)
        return revoked

    @cached_property
    def _row_by_id(self) -> dict[SampleId, int]:
        return {sample_id: row for row, sample_id in enumerate(self.ids.tolist())}

    def _rows(self, sample_ids: Sequence[SampleId], number: int) -> Indices:
        rows = np.array([self._row_by_id.get(sample_id, -1) for sample_id in sample_ids], dtype=np.int64)
        if (rows < 0).any():
            unknown = [sample_id for sample_id, row in zip(sample_ids, rows, strict=True) if row < 0]
            raise TraceInvalid(
                f"request {number} names {plural(len(unknown), 'unknown sample')} ({_shown(unknown)}); "
                "leave out samples that the run does not have, or has revoked already"
            )
        return rows

    def _require_left(self, rows: Indices, is_left: npt.NDArray[np.bool_], number: int) -> None:
        is_again = ~is_left[rows]
        is_again[np.setdiff1d(np.arange(len(rows)), np.unique(rows, return_index=True)[1])] = True
        if is_again.any():
            raise TraceInvalid(
                f"request {number} names samples again ({_shown(self.ids[rows[is_again]].tolist())}); name each one once"
            )


def _shown(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
