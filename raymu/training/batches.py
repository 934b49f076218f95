"""A shard's samples in canonical order, and one epoch's batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.partition import Hashes, Positions, epoch_order, fixed_batches
from raymu.data.tables import SampleTable

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardSamples:
    """Samples by slice, then by hash, whatever order their rows came in.

    hashes: (samples,) uint64; slices: (samples,) int64; features: (samples, *shape); labels: (samples,) int64
    """

    hashes: Hashes
    slices: Positions
    features: npt.NDArray[np.generic]
    labels: npt.NDArray[np.int64]

    @classmethod
    def ordered(cls, table: SampleTable, *, hashes: Hashes, slices: Positions) -> "ShardSamples":
        """hashes, slices: of the table's rows"""
        order = np.lexsort((hashes, slices))
        return cls(
            hashes=hashes[order], slices=slices[order], features=table.features[order], labels=table.labels[order]
        )

    @classmethod
    def joined(cls, parts: Sequence["ShardSamples"]) -> "ShardSamples":
        """Samples from several places, in canonical order."""
        hashes = np.concatenate([part.hashes for part in parts])
        slices = np.concatenate([part.slices for part in parts])
        order = np.lexsort((hashes, slices))
        return cls(
            hashes=hashes[order],
            slices=slices[order],
            features=np.concatenate([part.features for part in parts])[order],
            labels=np.concatenate([part.labels for part in parts])[order],
        )

    def __len__(self) -> int:
        return len(self.hashes)

    def where(self, mask: Mask) -> "ShardSamples":
        return ShardSamples(
            hashes=self.hashes[mask], slices=self.slices[mask], features=self.features[mask], labels=self.labels[mask]
        )

    def up_to(self, stage: int) -> "ShardSamples":
        """The samples of slices 0..stage: those that come first."""
        count = int(np.searchsorted(self.slices, stage, side="right"))
        return ShardSamples(
            hashes=self.hashes[:count],
            slices=self.slices[:count],
            features=self.features[:count],
            labels=self.labels[:count],
        )

    def held_in(self, hashes: Hashes) -> Mask:
        """Which samples are among these. returns: (samples,) bool"""
        return np.isin(self.hashes, hashes)

    def slice_samples(self, slices: int) -> tuple[int, ...]:
        return tuple(int(count) for count in np.bincount(self.slices, minlength=slices))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchPlan:
    """positions: (samples,) int64 in training order, cut into sizes; keys: an identity of each batch"""

    positions: Positions
    sizes: tuple[int, ...]
    keys: tuple[int, ...]

    def drop_singletons(self) -> "BatchPlan":
        """Without the batches of one sample, which have no batch statistics."""
        if 1 not in self.sizes:
            return self
        is_kept = np.repeat([size > 1 for size in self.sizes], self.sizes)
        kept = [number for number, size in enumerate(self.sizes) if size > 1]
        return BatchPlan(
            positions=self.positions[is_kept],
            sizes=tuple(self.sizes[number] for number in kept),
            keys=tuple(self.keys[number] for number in kept),
        )

    def part(self, rank: int, ranks: int, *, least: int = 1) -> "BatchPlan":
        """A rank's part of every batch: consecutive samples, as many as the other ranks', or one more or fewer.

        Where a batch has not `least` samples for every rank, the last ranks' parts are empty.
        """
        cuts = [_part(size, rank, min(ranks, max(1, size // least))) for size in self.sizes]
        starts = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        parts = [self.positions[start + low : start + high] for start, (low, high) in zip(starts, cuts, strict=True)]
        return BatchPlan(
            positions=np.concatenate([self.positions[:0], *parts]),
            sizes=tuple(high - low for low, high in cuts),
            keys=self.keys,
        )


def _part(size: int, rank: int, parts: int) -> tuple[int, int]:
    """Where a rank's part of a batch begins and ends."""
    return (size * rank // parts, size * (rank + 1) // parts) if rank < parts else (size, size)


def shuffled_batches(samples: ShardSamples, *, batch_size: int, seed: int) -> BatchPlan:
    """Consecutive batches of an order by hash."""
    count = len(samples)
    sizes = tuple(min(batch_size, count - start) for start in range(0, count, batch_size))
    return BatchPlan(positions=epoch_order(samples.hashes, seed=seed), sizes=sizes, keys=tuple(range(len(sizes))))


def grouped_batches(samples: ShardSamples, *, groups_per_slice: int, seed: int) -> BatchPlan:
    """Batches whose members are fixed for life, in an order by hash. A batch's key counts groups slice after slice."""
    keys = samples.slices * groups_per_slice + fixed_batches(samples.hashes, batches=groups_per_slice)
    present, sizes = np.unique(keys, return_counts=True)
    order = epoch_order(present.astype(np.uint64), seed=seed)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return BatchPlan(
        positions=np.argsort(rank[np.searchsorted(present, keys)], kind="stable"),
        sizes=tuple(sizes[order].tolist()),
        keys=tuple(present[order].tolist()),
    )
