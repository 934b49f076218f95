"""What becomes of a run's only shard under traffic, group by group."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from raymu.core.odds import Floats, ShardFate


class LoneShardOdds:
    """Of a shard that has no other's models to calibrate its patches by, but its own checkpoints below them.

    Below the first slice there is none: a remedy from there on is a retraining, after which the shard owes nothing again.
    So the earliest slice that it owes is a chain; as many as there are slices stand for none. By what is owed, the chain
    carries along its chance, and the samples that are gone, times that chance.
    """

    def __init__(
        self,
        *,
        slice_samples: Sequence[float],
        epochs: Sequence[int],
        hit: Floats,
        first: int,
        sizes: npt.NDArray[np.int64],
    ) -> None:
        """hit: (slices,), chance that a request is in this slice; sizes: of the groups, in requests"""
        slices = len(slice_samples)
        self._samples, self._epochs, self._groups = np.array(slice_samples), np.array(epochs), len(sizes)
        start = np.minimum(np.arange(slices + 1)[:, None], np.arange(slices))  # (owed, earliest slice of a group)
        self._is_retrained = (start == 0) | (start >= first)
        self._then_owed = np.where(self._is_retrained, slices, start)
        self._is_trained = np.arange(slices) >= start[:, :, None]
        self._chance, self._gone = np.eye(slices + 1)[slices], np.zeros((slices + 1, slices))
        self._patched, self._retained = np.zeros(slices + 1), np.zeros((slices + 1, slices))
        self._named, self._retrained_passes = 0.0, 0.0
        for size in sizes.tolist():
            self._serve(*_group(hit, size))

    def fate(self) -> ShardFate:
        left = self._samples * self._chance[:, None] - self._gone
        stages = np.triu(self._epochs * left.cumsum(axis=1))[: len(self._samples)]  # those that each debt reaches
        return ShardFate(
            remedies=float(self._groups),
            patched_first=float(self._patched[-1]),
            patched_later=float(self._patched[:-1].sum()),
            named=self._named,
            retained_first=self._retained[-1],
            retained_later=self._retained[:-1].sum(axis=0),
            retrained_passes=self._retrained_passes,
            owes=float(self._chance[:-1].sum()),
            owed_passes=float(stages.sum()),
        )

    def _serve(self, earliest: Floats, names: Floats) -> None:
        """Take the chain past a group. earliest, names: as of _group"""
        is_patched = ~self._is_retrained
        path = self._chance[:, None] * earliest
        gone = self._gone[:, None] * earliest[:, None] + self._chance[:, None, None] * names
        left = self._samples * path[:, :, None] - gone
        passes = self._epochs * left.cumsum(axis=2) * self._is_trained
        self._retrained_passes += float(passes[self._is_retrained].sum())
        self._patched += (path * is_patched).sum(axis=1)
        self._retained += (left * is_patched[:, :, None]).sum(axis=1)
        self._named += float((self._chance[:, None] * names.sum(axis=1) * is_patched).sum())
        self._chance, self._gone = np.zeros_like(self._chance), np.zeros_like(self._gone)
        np.add.at(self._chance, self._then_owed, path)
        np.add.at(self._gone, self._then_owed, gone)


def _group(hit: Floats, size: int) -> tuple[Floats, Floats]:
    """By the earliest slice that a group names: its chance, and the samples named of each slice, times that chance.

    A group names nothing before a slice where all its requests are in it or later; less those that are all later still.
    returns: (slices,), (slices, slices)
    """
    late = np.append(hit[::-1].cumsum()[::-1], 0.0)  # (slices + 1,): that a request is in this slice or later
    is_late = np.arange(len(hit)) >= np.arange(len(hit) + 1)[:, None]
    names = size * hit * is_late * (late ** (size - 1))[:, None]
    return -np.diff(late**size), -np.diff(names, axis=0)
