"""What becomes of one shard, in closed form and as a chain, against every sequence of requests there is."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import product
from math import prod

import numpy as np
import pytest

from raymu.core.planning.shard_chain import ExpectedShardCost, LoneShardOdds, ShardOdds

SAMPLES, EPOCHS, SLICES = (9, 6, 7), (3, 2, 1), 3
AMONG_OTHERS, ALONE = (0.1, 0.25, 0.15), (0.2, 0.5, 0.3)
TOTALS = ("remedies", "first", "later", "named", "retrained", "owes", "owed")
GROUPS = ([1, 1, 1, 1], [2, 2], [1, 3], [4])


def enumerated(hit: Sequence[float], *, first: int, sizes: Sequence[int], is_alone: bool) -> ExpectedShardCost:
    """Mean over every sequence of requests, which name a slice, or another shard."""
    chances = [*hit, 1.0 - sum(hit)]
    total, retained = dict.fromkeys(TOTALS, 0.0), {"first": np.zeros(SLICES), "later": np.zeros(SLICES)}
    for cells in product(range(SLICES + 1), repeat=sum(sizes)):
        chance = prod(chances[cell] for cell in cells)
        left, owed, coming = np.array(SAMPLES), SLICES, iter(cells)
        for size in sizes:
            named = [next(coming) for _ in range(size)]
            here = [cell for cell in named if cell < SLICES]
            if not here:
                continue
            left = left - np.bincount(here, minlength=SLICES)
            start = min([*here, owed])
            total["remedies"] += chance
            if start >= first or (is_alone and start == 0):
                total["retrained"] += chance * trained(left, start)
                owed = SLICES
            else:
                when = "first" if owed == SLICES else "later"
                total[when] += chance
                total["named"] += chance * len(here)
                retained[when] += chance * left
                owed = start
        total["owes"] += chance * (owed < SLICES)
        total["owed"] += chance * trained(left, owed)
    return ExpectedShardCost(
        remedies=total["remedies"],
        patched_first=total["first"],
        patched_later=total["later"],
        named=total["named"],
        retained_first=retained["first"],
        retained_later=retained["later"],
        retrained_passes=total["retrained"],
        owes=total["owes"],
        owed_passes=total["owed"],
    )


def trained(left: np.ndarray, start: int) -> float:
    """Passes of the stages from one on."""
    return float(sum(EPOCHS[stage] * left[: stage + 1].sum() for stage in range(start, SLICES)))


def among_others(first: int, sizes: Sequence[int]) -> ExpectedShardCost:
    hit = np.array(AMONG_OTHERS)
    return ShardOdds(slice_samples=SAMPLES, epochs=EPOCHS, hit=hit, first=first, sizes=np.array(sizes)).fate()


def alone(first: int, sizes: Sequence[int]) -> ExpectedShardCost:
    hit = np.array(ALONE)
    return LoneShardOdds(slice_samples=SAMPLES, epochs=EPOCHS, hit=hit, first=first, sizes=np.array(sizes)).fate()


@pytest.mark.parametrize("sizes", GROUPS, ids=str)
@pytest.mark.parametrize("first", range(SLICES + 1))
@pytest.mark.parametrize(("fate", "hit"), [(among_others, AMONG_OTHERS), (alone, ALONE)])
def test_a_fate_is_the_mean_over_every_sequence_of_requests(
    fate: Callable[[int, Sequence[int]], ExpectedShardCost], hit: Sequence[float], first: int, sizes: list[int]
) -> None:
    found, expected = fate(first, sizes), enumerated(hit, first=first, sizes=sizes, is_alone=fate is alone)
    for one in fields(ExpectedShardCost):
        assert getattr(found, one.name) == pytest.approx(getattr(expected, one.name), rel=1e-9, abs=1e-9), one.name
