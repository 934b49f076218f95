"""What becomes of a run's only shard under traffic, group by group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExpectedShardCost:
    """What becomes of one shard, in the mean over all traces of some traffic.

    A sum over remedies counts a sample once for each remedy that it is there for.
    """

    remedies: float
    patched_first: float
    """Patches of the shard while it owed nothing, and of the shard while it did."""
    patched_later: float
    named: float
    """Samples that patches are to forget."""
    retained_first: Floats
    """(slices,) samples that are left when it is patched while it owes nothing, and while it does."""
    retained_later: Floats
    retrained_passes: float
    owes: float
    """The chance that it owes anything in the end, and the mean passes that settle it."""
    owed_passes: float


class ShardOdds:
    """One shard's chances, group by group: every array is (groups,) float64 unless it says otherwise.

    A request is early where its slice is before the first one that is retrained. The shard is clean until its first early
    request, and is patched from then on.
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
        """hit: (slices,), chance that a request is in this slice of this shard; sizes: of the groups, in requests"""
        self._samples, self._epochs, self._hit = np.array(slice_samples), np.array(epochs), hit
        self._first, self._sizes = first, sizes
        self._before = np.cumsum(sizes) - sizes  # requests of earlier groups
        self._early = float(self._hit[:first].sum())
        self._is_clean = (1.0 - self._early) ** self._before
        self._has_none_early = (1.0 - self._early) ** sizes
        self._is_touched = 1.0 - (1.0 - self._hit.sum()) ** sizes
        self._is_patched_first = self._is_clean * (1.0 - self._has_none_early)
        self._is_patched_later = (1.0 - self._is_clean) * self._is_touched

    def fate(self) -> ExpectedShardCost:
        owes, owed_passes = self._debt()
        each = [slice(position, position + 1) for position in range(len(self._samples))]
        return ExpectedShardCost(
            remedies=float(self._is_touched.sum()),
            patched_first=float(self._is_patched_first.sum()),
            patched_later=float(self._is_patched_later.sum()),
            named=float(self._named().sum()),
            retained_first=np.array([self._retained_first(one).sum() for one in each]),
            retained_later=np.array([self._retained_later(one).sum() for one in each]),
            retrained_passes=self._retrained_passes(),
            owes=owes,
            owed_passes=owed_passes,
        )

    def _retrained_passes(self) -> float:
        """Of all groups: of each stage from the earliest slice that a group touches, where the shard is clean."""
        passes = 0.0
        for stage in range(self._first, len(self._samples)):
            late = float(self._hit[self._first : stage + 1].sum())
            trains = self._has_none_early - (1.0 - self._early - late) ** self._sizes
            gone = self._before * self._late_if_clean(late) * trains + self._late_in_a_clean_group(late)
            samples = self._samples[: stage + 1].sum() * trains - gone
            passes += float(self._epochs[stage] * (self._is_clean * samples).sum())
        return passes

    def _named(self) -> Floats:
        """Samples that are named where the shard is patched.

        All that are named here, less those of a group that finds the shard clean and names none early: it is retrained.
        """
        here = self._sizes * self._hit.sum()
        return here - self._is_clean * self._late_in_a_clean_group(float(self._hit[self._first :].sum()))

    def _retained_first(self, slices: slice) -> Floats:
        """Samples of some slices that are left where the shard is patched for the first time.

        Until then each request was late or elsewhere, whatever this group names. What the group itself names here is gone
        too, less what it names where it has none early, and the shard is retrained.
        """
        hit, late = self._mass(slices)
        left = self._samples[slices].sum() - self._before * self._late_if_clean(late)
        gone = self._sizes * hit - self._late_in_a_clean_group(late)
        return left * self._is_patched_first - self._is_clean * gone

    def _retained_later(self, slices: slice) -> Floats:
        """The same where it was patched before.

        What earlier requests named here, less what they named where none of them was early, is gone from a shard that was
        patched before. Whether this group touches the shard does not depend on them.
        """
        hit, late = self._mass(slices)
        gone_before = self._before * (hit - self._is_clean * self._late_if_clean(late)) * self._is_touched
        gone_now = (1.0 - self._is_clean) * self._sizes * hit
        return self._samples[slices].sum() * self._is_patched_later - gone_before - gone_now

    def _debt(self) -> tuple[float, float]:
        """What it owes in the end. returns: the chance that it owes anything, and the mean passes that settle it"""
        requests = int(self._sizes.sum())
        hit = np.cumsum(self._hit)
        below = np.append(0.0, hit)  # (slices + 1,): that a request is here, before each slice
        is_owed = 1.0 - (1.0 - below) ** requests
        passes = 0.0
        for stage, epochs in enumerate(self._epochs):
            start = min(stage + 1, self._first)
            late = float(hit[stage] - below[start])
            gone = requests * (float(hit[stage]) - late * (1.0 - float(below[start])) ** (requests - 1))
            passes += float(epochs * (self._samples[: stage + 1].sum() * is_owed[start] - gone))
        return float(is_owed[self._first]), passes

    def _mass(self, slices: slice) -> tuple[float, float]:
        """The chance that a request is in these slices, and that it is in them and not early."""
        is_late = np.arange(len(self._hit)) >= self._first
        return float(self._hit[slices].sum()), float((self._hit * is_late)[slices].sum())

    def _late_if_clean(self, late: float) -> float:
        """The chance of a request to name such a sample, where it is known not to be early."""
        return late / (1.0 - self._early) if late else 0.0

    def _late_in_a_clean_group(self, late: float) -> Floats:
        """Samples that a group names with this chance each, where it names no early one."""
        return self._sizes * late * (1.0 - self._early) ** (self._sizes - 1)


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

    def fate(self) -> ExpectedShardCost:
        left = self._samples * self._chance[:, None] - self._gone
        stages = np.triu(self._epochs * left.cumsum(axis=1))[: len(self._samples)]  # those that each debt reaches
        return ExpectedShardCost(
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
