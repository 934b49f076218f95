"""The visible changes of an audit with two snapshots: which samples are asked about, and which of them are deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymu.core.arrays import Labels, Mask
from raymu.core.partition import Hashes, Indices, splitmix64

CANDIDATES = 500
"""Samples of each half that are asked about, at most."""
_MOST_VOTES = 50_000
"""Numbers in the answers about a half, at most: with many classes, fewer samples are asked about."""
_LEAST_CANDIDATES = 100
_HIDDEN_AMONG = 2
"""Samples of a half for each one that a change deletes, at least."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Questions:
    """The samples that are asked about, from all shards."""

    shards: Indices
    """(samples,) int64."""
    slices: Indices
    """(samples,) int64."""
    hashes: Hashes
    """(samples,) uint64."""
    truth: Labels
    """(samples,) int64, their classes."""
    halves: Indices
    """(samples,) 0 or 1: the half of all samples that each belongs to, which follows from its hash."""

    def of_half(self, half: int) -> Indices:
        """Return the places of the samples of a half."""
        return np.flatnonzero(self.halves == half)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Deletion:
    """Samples of one half that are deleted together."""

    number: int
    group: int
    """Number of deleted samples."""
    half: int
    places: Indices
    """(deleted samples,) among the questions."""


def chosen_for_questions(hashes: Sequence[Hashes], *, classes: int, seed: int) -> tuple[list[Mask], list[Indices]]:
    """Choose the samples to ask about by their hashes.

    Args:
        hashes: Of the samples of each shard.
        classes: Number of classes.
        seed: Seed of the choice.

    Returns:
        For each shard which samples are asked about, (samples,) bool, and the half of each sample, (samples,) int64.
    """
    mixed = [splitmix64(of_shard ^ np.uint64(seed)) for of_shard in hashes]
    halves = [(of_shard & np.uint64(1)).astype(np.int64) for of_shard in mixed]
    count = max(min(CANDIDATES, _MOST_VOTES // classes), _LEAST_CANDIDATES)
    together, half_of = np.concatenate(mixed), np.concatenate(halves)
    is_chosen = np.zeros(len(together), dtype=bool)
    for half in (0, 1):
        places = np.flatnonzero(half_of == half)
        is_chosen[places[np.argsort(together[places], kind="stable")[:count]]] = True
    ends = np.cumsum([len(of_shard) for of_shard in hashes])[:-1]
    return np.split(is_chosen, ends), halves


def most_deleted(questions: Questions) -> int:
    """Return the most samples that a change can delete, so that kept ones are left to hide among."""
    return min(len(questions.of_half(half)) for half in (0, 1)) // _HIDDEN_AMONG


def draw_deletions(questions: Questions, *, groups: Sequence[int], changes: int, seed: int) -> list[Deletion]:
    """Draw the deletions of each group size, which fall on the halves in turn.

    Args:
        questions: The samples.
        groups: Deleted samples of a change, for each kind of change.
        changes: Changes of each kind.
        seed: Seed of the draws.
    """
    deletions: list[Deletion] = []
    for group in groups:
        random = np.random.default_rng([seed, group])
        for change in range(changes):
            half = change % 2
            places = np.sort(random.choice(questions.of_half(half), group, replace=False))
            deletions.append(Deletion(number=len(deletions), group=group, half=half, places=places))
    return deletions
