"""A shard's samples in canonical order, and one epoch's batches of them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raymu.core.arrays import Features, Mask, Targets
from raymu.core.partition import Hashes, Indices, epoch_order, fixed_batches, splitmix64
from raymu.data.rows import Rows, as_array, joined_rows
from raymu.data.stored_rows import StoredRows, read_rows
from raymu.data.tables import SampleTable
from raymu.training.encoder import PreparedSamples
from raymu.training.inputs import BatchInputs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardSamples:
    """Samples in canonical order: by slice, then by hash, whatever order their rows came in."""

    hashes: Hashes
    """(samples,) uint64, hashes of the ids."""
    slices: Indices
    """(samples,) int64."""
    features: Rows | StoredRows
    """(samples, *shape), or columns; in memory, or read from a disk as they are needed."""
    labels: Targets
    """(samples,) int64, or (samples, outputs) float32."""

    @classmethod
    def ordered(cls, table: SampleTable, *, hashes: Hashes, slices: Indices) -> "ShardSamples":
        """Put a table's rows in order.

        Args:
            table: The samples.
            hashes: Hash of each row.
            slices: Slice of each row.
        """
        return cls.of_rows(table.features, table.labels, hashes=hashes, slices=slices)

    @classmethod
    def of_rows(
        cls, features: Rows | StoredRows, labels: Targets, *, hashes: Hashes, slices: Indices
    ) -> "ShardSamples":
        """Put rows in order. All have one entry for each sample."""
        order = np.lexsort((hashes, slices))
        return cls(hashes=hashes[order], slices=slices[order], features=features[order], labels=labels[order])

    @classmethod
    def joined(cls, parts: Sequence["ShardSamples"]) -> "ShardSamples":
        """Merge several groups of samples."""
        hashes = np.concatenate([part.hashes for part in parts])
        slices = np.concatenate([part.slices for part in parts])
        order = np.lexsort((hashes, slices))
        return cls(
            hashes=hashes[order],
            slices=slices[order],
            features=joined_rows([read_rows(part.features) for part in parts])[order],
            labels=np.concatenate([part.labels for part in parts])[order],
        )

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def array(self) -> Features:
        """Features that are an array: (samples, *shape)."""
        return as_array(read_rows(self.features))

    def where(self, mask: Mask) -> "ShardSamples":
        """Select samples. mask: (samples,) bool"""
        return ShardSamples(
            hashes=self.hashes[mask], slices=self.slices[mask], features=self.features[mask], labels=self.labels[mask]
        )

    def up_to(self, stage: int) -> "ShardSamples":
        """Select the samples of slices 0..stage, which come first."""
        count = int(np.searchsorted(self.slices, stage, side="right"))
        return ShardSamples(
            hashes=self.hashes[:count],
            slices=self.slices[:count],
            features=self.features[:count],
            labels=self.labels[:count],
        )

    def isin(self, hashes: Hashes) -> Mask:
        """Return which samples have one of these hashes, (samples,) bool."""
        return np.isin(self.hashes, hashes)

    def slice_samples(self, slices: int) -> tuple[int, ...]:
        """Count the samples of each slice. slices: number of slices"""
        return tuple(int(count) for count in np.bincount(self.slices, minlength=slices))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchPlan:
    """The batches of one epoch."""

    positions: Indices
    """(samples,) int64: samples in training order, batch after batch."""
    sizes: tuple[int, ...]
    """Samples of each batch."""
    keys: tuple[int, ...]
    """Identity of each batch."""

    def split(
        self, samples: PreparedSamples, targets: Tensor, draws: Tensor | None = None
    ) -> Generator[tuple[BatchInputs, Tensor]]:
        """Yield the inputs and targets of each batch. Threads may make them ahead: close it where it is not used up.

        Args:
            samples: All samples.
            targets: (samples,) or (samples, outputs), on their device.
            draws: (samples,) int64, a seed for each sample; None if the task draws nothing.
        """
        # One gather per epoch, then views: quicker than an index per batch.
        order, sizes = torch.from_numpy(self.positions).to(targets.device), list(self.sizes)
        with closing(samples.batches(self.positions, sizes, draws)) as batches:
            yield from zip(batches, targets[order].split(sizes), strict=True)

    def drop_singletons(self) -> "BatchPlan":
        """Leave out the batches of one sample, which have no batch statistics."""
        if 1 not in self.sizes:
            return self
        is_kept = np.repeat([size > 1 for size in self.sizes], self.sizes)
        kept = [number for number, size in enumerate(self.sizes) if size > 1]
        return BatchPlan(
            positions=self.positions[is_kept],
            sizes=tuple(self.sizes[number] for number in kept),
            keys=tuple(self.keys[number] for number in kept),
        )

    def fitting(self, accepts: Callable[[int], bool]) -> "BatchPlan":
        """Leave out the fewest samples of each batch of a size that the model refuses, so that it takes the rest.

        Up to half of a batch is left out so, otherwise all of it. Batches stay as they are if the largest ones are of no use.

        Args:
            accepts: Whether the model can be trained on a batch of so many samples.
        """
        taken = {size: next(filter(accepts, range(size, (size - 1) // 2, -1)), 0) for size in set(self.sizes)}
        is_usable = bool(self.sizes) and taken[max(self.sizes)] > 0
        sizes = [taken[size] if is_usable or size == 1 or taken[size] else size for size in self.sizes]
        if tuple(sizes) == self.sizes:
            return self
        starts = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        parts = [self.positions[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        kept = [number for number, size in enumerate(sizes) if size]
        return BatchPlan(
            positions=np.concatenate([self.positions[:0], *parts]),
            sizes=tuple(sizes[number] for number in kept),
            keys=tuple(self.keys[number] for number in kept),
        )

    def part(self, rank: int, ranks: int, *, min_samples: int = 1) -> "BatchPlan":
        """Cut out a rank's part of every batch: consecutive samples, and parts whose sizes differ by one at most.

        Args:
            rank: Number of the rank, from 0.
            ranks: Number of ranks that share each batch.
            min_samples: Fewest samples of a part. If a batch has too few for all ranks, the last ranks' parts are empty.
        """
        cuts = [_part_bounds(size, rank, min(ranks, max(1, size // min_samples))) for size in self.sizes]
        starts = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        parts = [self.positions[start + low : start + high] for start, (low, high) in zip(starts, cuts, strict=True)]
        return BatchPlan(
            positions=np.concatenate([self.positions[:0], *parts]),
            sizes=tuple(high - low for low, high in cuts),
            keys=self.keys,
        )


def sample_draws(hashes: Hashes, *, seed: int) -> Tensor:
    """Return a seed for each sample that depends on nothing but its identity: (samples,) int64, from 0.

    Args:
        hashes: (samples,) uint64, hashes of the ids.
        seed: Of the epoch.
    """
    return torch.from_numpy((splitmix64(hashes ^ np.uint64(seed)) >> np.uint64(1)).astype(np.int64))


def part_lengths(size: int, parts: int, *, min_samples: int) -> list[int]:
    """Return the sizes of the consecutive parts that a batch is cut into as by `BatchPlan.part`, without empty ones.

    Args:
        size: Samples of the batch.
        parts: Number of parts, such as the ranks that share it.
        min_samples: Fewest samples of a part.
    """
    cuts = min(parts, max(1, size // min_samples))
    bounds = (_part_bounds(size, number, cuts) for number in range(cuts))
    return [high - low for low, high in bounds if high > low]


def _part_bounds(size: int, rank: int, parts: int) -> tuple[int, int]:
    """Return the first index of a rank's part of a batch, and the index after its last."""
    return (size * rank // parts, size * (rank + 1) // parts) if rank < parts else (size, size)


def shuffled_batches(samples: ShardSamples, *, batch_size: int, seed: int) -> BatchPlan:
    """Cut an order by hash into batches of equal size. The last one may be smaller."""
    count = len(samples)
    sizes = tuple(min(batch_size, count - start) for start in range(0, count, batch_size))
    return BatchPlan(positions=epoch_order(samples.hashes, seed=seed), sizes=sizes, keys=tuple(range(len(sizes))))


def grouped_batches(samples: ShardSamples, *, groups_per_slice: int, seed: int) -> BatchPlan:
    """Order batches whose members never change by hash. A batch's key counts the groups, slice after slice."""
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
