"""The chain of one shard's debt, compared with an enumeration of all sequences of requests."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import product
from math import prod

import numpy as np
import pytest

from raymu.core.arrays import Mask
from raymu.core.planning.shard_chain import ExpectedRepairs, ShardChain

SAMPLES, SLICES = (9, 6, 7), 3
AMONG_OTHERS, ALONE = (0.1, 0.25, 0.15), (0.2, 0.5, 0.3)
GROUPS = ([1, 1, 1, 1], [2, 2], [1, 3], [4])

OWED, EARLIEST = np.arange(SLICES + 1)[:, None], np.arange(SLICES)
START = np.minimum(OWED, EARLIEST)
TABLES = np.array(
    [
        *(first <= START for first in range(SLICES + 1)),  # retrained from some slice on
        *((first <= START) | (START == 0) for first in range(2, SLICES + 1)),  # and if nothing calibrates a patch
        (OWED + EARLIEST) % 2 == 0,  # any table of decisions
    ]
)


def enumerated(hit: Sequence[float], is_retrained: Mask, sizes: Sequence[int]) -> ExpectedRepairs:
    """Return the mean over all sequences of requests. Each request names a slice of the shard, or another shard."""
    chances = [*hit, 1.0 - sum(hit)]
    repairs, named = np.zeros((SLICES + 1, SLICES)), np.zeros((SLICES + 1, SLICES))
    retained = np.zeros((SLICES + 1, SLICES, SLICES))
    owes, left = np.zeros(SLICES + 1), np.zeros((SLICES + 1, SLICES))
    for cells in product(range(SLICES + 1), repeat=sum(sizes)):
        chance = prod(chances[cell] for cell in cells)
        samples, owed, requests = np.array(SAMPLES), SLICES, iter(cells)
        for size in sizes:
            touched = [cell for cell in (next(requests) for _ in range(size)) if cell < SLICES]
            if touched:
                samples = samples - np.bincount(touched, minlength=SLICES)
                case = owed, min(touched)
                repairs[case] += chance
                named[case] += chance * len(touched)
                retained[case] += chance * samples
                owed = SLICES if is_retrained[case] else min(case)
        owes[owed] += chance
        left[owed] += chance * samples
    return ExpectedRepairs(repairs=repairs, named=named, retained=retained, owes=owes, left=left)


@pytest.mark.parametrize("sizes", GROUPS, ids=str)
@pytest.mark.parametrize("hit", [AMONG_OTHERS, ALONE], ids=["among others", "alone"])
def test_the_chain_is_the_mean_over_every_sequence_of_requests(hit: Sequence[float], sizes: list[int]) -> None:
    chain = ShardChain(np.array(hit), np.array(SAMPLES, dtype=np.float64), TABLES)
    for size in sizes:
        chain.serve(size)
    expected = chain.expected()
    for index, table in enumerate(TABLES):
        mean = enumerated(hit, table, sizes)
        for field in fields(ExpectedRepairs):
            value = getattr(expected, field.name)[index]
            assert value == pytest.approx(getattr(mean, field.name), rel=1e-9, abs=1e-9), field.name
