"""What becomes of one shard under traffic: the chances, and the samples that are left, in closed form."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class ShardOdds:
    """One shard's chances, group by group: every array is (groups,) float64 unless it says otherwise.

    A request is early where its slice is before the first one that is retrained.
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
        self._is_missed = (1.0 - self._hit.sum()) ** sizes
        self.is_touched = 1.0 - self._is_missed
        self.is_patched_first = self._is_clean * (1.0 - self._has_none_early)
        self.is_patched_later = (1.0 - self._is_clean) * self.is_touched

    @property
    def is_patched(self) -> Floats:
        return self.is_patched_first + self.is_patched_later

    @property
    def retrained_passes(self) -> float:
        """Of all groups: of each stage from the earliest slice that a group touches, where the shard is clean."""
        passes = 0.0
        for stage in range(self._first, len(self._samples)):
            late = float(self._hit[self._first : stage + 1].sum())
            trains = self._has_none_early - (1.0 - self._early - late) ** self._sizes
            gone = self._before * self._late_if_clean(late) * trains + self._late_in_a_clean_group(late)
            samples = self._samples[: stage + 1].sum() * trains - gone
            passes += float(self._epochs[stage] * (self._is_clean * samples).sum())
        return passes

    def named(self) -> Floats:
        """Samples that are named where the shard is patched."""
        here = self._sizes * self._hit.sum()
        return here - self._is_clean * self._late_in_a_clean_group(float(self._hit[self._first :].sum()))

    def retained_first(self, slices: slice) -> Floats:
        """Samples of some slices that are left where the shard is patched for the first time."""
        hit, late = self._mass(slices)
        left = self._samples[slices].sum() - self._before * self._late_if_clean(late)
        gone = self._sizes * hit - self._late_in_a_clean_group(late)
        return left * self.is_patched_first - self._is_clean * gone

    def retained_later(self, slices: slice) -> Floats:
        """The same where it was patched before."""
        hit, late = self._mass(slices)
        gone_before = self._before * (hit - self._is_clean * self._late_if_clean(late)) * self.is_touched
        gone_now = (1.0 - self._is_clean) * self._sizes * hit
        return self._samples[slices].sum() * self.is_patched_later - gone_before - gone_now

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
