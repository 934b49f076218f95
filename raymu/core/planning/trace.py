"""Requests over time, and the samples that they may name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from raymu.core.partition import Hashes, Positions, identity_hashes
from raymu.core.records import SampleId
from raymu.errors import TraceInvalid
from raymu.text import plural

LATEST_S = 1e11
"""Seconds, some 3000 years: far above the present time in Unix seconds, and below it in Unix milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TracedRequest:
    """Samples by id, or all samples of an owner. at_s: seconds from the start of the trace"""

    at_s: float
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
    """Requests that are submitted together. at_s: when; positions: in the trace"""

    at_s: float
    positions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Requests in the order of their arrival; there is at least one."""

    requests: tuple[TracedRequest, ...]

    def __post_init__(self) -> None:
        if not self.requests:
            raise TraceInvalid("the trace holds no requests; it needs at least one")
        for number, (one, after) in enumerate(pairwise(self.requests), start=2):
            if after.at_s < one.at_s:
                raise TraceInvalid(
                    f"request {number} is at {after.at_s:g} s, before the one above it at {one.at_s:g} s; sort by time"
                )

    def batches(self, window_s: float) -> Iterator[Batch]:
        """The first request opens a window; what comes within it is submitted together, as the window closes.

        window_s: 0 submits each request as it comes, together with those of the same moment
        """
        positions: list[int] = []
        closes_s = 0.0
        for position, request in enumerate(self.requests):
            if positions and request.at_s > closes_s:
                yield Batch(at_s=closes_s, positions=tuple(positions))
                positions = []
            if not positions:
                closes_s = request.at_s + window_s
            positions.append(position)
        yield Batch(at_s=closes_s, positions=tuple(positions))


@dataclass(frozen=True, kw_only=True, eq=False)
class RevocableSamples:
    """The samples that requests may name, and where each of them lives.

    ids: (samples,) int64, or str objects, distinct; shards, slices, labels: (samples,) int64
    owners: (samples,) objects, by their text, None for a sample without one; None where owners are not known
    """

    ids: npt.NDArray[Any]
    shards: Positions
    slices: Positions
    labels: npt.NDArray[np.int64]
    owners: npt.NDArray[np.object_] | None = None
    shard_count: int
    slice_count: int

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def hashes(self) -> Hashes:
        """Of the ids, whatever the run. returns: (samples,) uint64"""
        return identity_hashes(self.ids.tolist(), seed=0, purpose="traffic")

    @cached_property
    def rows_of_owner(self) -> dict[str, Positions]:
        rows: dict[str, list[int]] = {}
        for row, owner in enumerate([] if self.owners is None else self.owners):
            if owner is not None:
                rows.setdefault(str(owner), []).append(row)
        return {owner: np.array(of, dtype=np.int64) for owner, of in rows.items()}

    @property
    def slice_samples(self) -> npt.NDArray[np.int64]:
        """returns: (shards, slices) int64"""
        cells = self.shards * self.slice_count + self.slices
        counts = np.bincount(cells, minlength=self.shard_count * self.slice_count)
        return counts.reshape(self.shard_count, self.slice_count)

    def rows_of(self, trace: Trace) -> list[Positions]:
        """The samples that each request takes out; an owner's request takes those that none before it took.

        Raises TraceInvalid for what is not held, and for a sample that is named again.
        """
        is_left = np.ones(len(self), dtype=bool)
        found: list[Positions] = []
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
            found.append(rows)
        return found

    @cached_property
    def _row_by_id(self) -> dict[SampleId, int]:
        return {sample_id: row for row, sample_id in enumerate(self.ids.tolist())}

    def _rows(self, sample_ids: Sequence[SampleId], number: int) -> Positions:
        rows = np.array([self._row_by_id.get(sample_id, -1) for sample_id in sample_ids], dtype=np.int64)
        if (rows < 0).any():
            unknown = [sample_id for sample_id, row in zip(sample_ids, rows, strict=True) if row < 0]
            raise TraceInvalid(
                f"request {number} names {plural(len(unknown), 'unknown sample')} ({_shown(unknown)}); "
                "leave out what the run does not hold, or has revoked already"
            )
        return rows

    def _require_left(self, rows: Positions, is_left: npt.NDArray[np.bool_], number: int) -> None:
        is_again = ~is_left[rows]
        is_again[np.setdiff1d(np.arange(len(rows)), np.unique(rows, return_index=True)[1])] = True
        if is_again.any():
            raise TraceInvalid(
                f"request {number} names samples again ({_shown(self.ids[rows[is_again]].tolist())}); name each one once"
            )


def _shown(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
