"""The Markov chain of one shard's debt under traffic, for several tables of decisions side by side."""

from dataclasses import dataclass

import numpy as np

from raymu.core.arrays import Floats, Mask


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExpectedRepairs:
    """Means over all traces of some traffic, for one shard.

    The first axis is the table of decisions, `owed` the earliest slice that the shard owes (the number of slices if it
    owes nothing), and `earliest` the earliest slice that a group of requests touches. A sum over repairs counts a sample
    once for each repair.
    """

    repairs: Floats
    """(tables, owed, earliest) number of repairs."""
    named: Floats
    """(tables, owed, earliest) samples that the repairs forget."""
    retained: Floats
    """(tables, owed, earliest, slices) samples that are left after the repairs."""
    owes: Floats
    """(tables, owed) probability of what the shard owes in the end."""
    left: Floats
    """(tables, owed, slices) samples left in the end, times that probability."""


class ShardChain:
    """The probability of what a shard owes, taken past one group of requests after the other.

    A request names one sample. A group is served by one repair of the shard, from its earliest slice or from the debt, if
    that is earlier. A retraining clears the debt, a patch extends it to where it started. Beside each probability, the
    chain carries the expected samples of each slice that are gone, times that probability.
    """

    def __init__(self, hit: Floats, samples: Floats, is_retrained: Mask) -> None:
        """Begin with a shard that owes nothing.

        Args:
            hit: (slices,) probability that a request is for this slice of this shard.
            samples: (slices,) samples at first.
            is_retrained: (tables, slices + 1, slices) whether a repair retrains, by what the shard owes and by the
                earliest slice of the group.
        """
        slices, tables = len(hit), len(is_retrained)
        start = np.minimum(np.arange(slices + 1)[:, None], np.arange(slices))
        self._hit, self._samples = hit, samples
        self._next = np.eye(slices + 1)[np.where(is_retrained, slices, start)]  # (tables, owed, earliest, next owed)
        self._chance = np.zeros((tables, slices + 1))
        self._chance[:, slices] = 1.0
        self._gone = np.zeros((tables, slices + 1, slices))
        self._groups: dict[int, _Group] = {}

    def serve(self, size: int) -> None:
        """Take the chain past a group of so many requests."""
        if size not in self._groups:
            self._groups[size] = _Group(size, self._hit, self._next)
        self._chance, self._gone = self._groups[size].serve(self._chance, self._gone)

    def expected(self) -> ExpectedRepairs:
        """Return the means over everything that was served so far."""
        totals = [group.totals(self._samples) for group in self._groups.values()]
        return ExpectedRepairs(
            repairs=np.sum([repairs for repairs, _, _ in totals], axis=0),
            named=np.sum([named for _, named, _ in totals], axis=0),
            retained=np.sum([retained for _, _, retained in totals], axis=0),
            owes=self._chance,
            left=self._samples * self._chance[:, :, None] - self._gone,
        )


class _Group:
    """A group of a given size: the slices that it touches, and sums over the shards that `serve` was called for.

    P(earliest slice >= k) = late_k ^ size, where late_k is the probability that a request is for another shard or for
    slice k or later. The difference of consecutive k gives P(earliest slice = k).
    """

    def __init__(self, size: int, hit: Floats, following: Floats) -> None:
        """following: (tables, owed, earliest, next owed), 1 at what the shard owes after the repair"""
        slices = len(hit)
        late = np.maximum(1.0 - np.append(0.0, hit.cumsum()), 0.0)  # (slices + 1,)
        is_late = np.arange(slices) >= np.arange(slices + 1)[:, None]
        named = size * hit * is_late * (late ** (size - 1))[:, None]
        self._earliest = -np.diff(late**size)  # (earliest,) its probability
        self._named = -np.diff(named, axis=0)  # (earliest, slices) samples named, times that probability
        untouched = late[-1] ** size * np.eye(slices + 1)
        self._moves = untouched + np.einsum("e,toen->ton", self._earliest, following)  # (tables, owed, next owed)
        self._forgets = np.einsum("es,toen->tons", self._named, following)  # (tables, owed, next owed, slices)
        self._visits = np.zeros(following.shape[:2])  # (tables, owed)
        self._gone = np.zeros((*following.shape[:2], slices))

    def serve(self, chance: Floats, gone: Floats) -> tuple[Floats, Floats]:
        """Return what the shard owes after the group, and which samples are gone.

        Args:
            chance: (tables, owed) probability of what the shard owes.
            gone: (tables, owed, slices) samples that are gone, times that probability.
        """
        self._visits += chance
        self._gone += gone
        tables, owed, slices = gone.shape
        forgotten = (chance[:, None, :] @ self._forgets.reshape(tables, owed, owed * slices)).reshape(gone.shape)
        return (chance[:, None, :] @ self._moves)[:, 0], self._moves.transpose(0, 2, 1) @ gone + forgotten

    def totals(self, samples: Floats) -> tuple[Floats, Floats, Floats]:
        """Return repairs, named and retained samples, as in `ExpectedRepairs`."""
        repairs = self._visits[:, :, None] * self._earliest
        named = self._visits[:, :, None] * self._named.sum(axis=1)
        gone = self._gone[:, :, None] * self._earliest[:, None] + self._visits[:, :, None, None] * self._named
        return repairs, named, samples * repairs[..., None] - gone
