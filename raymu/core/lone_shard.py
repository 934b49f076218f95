"""What becomes of a run's only shard under traffic, group by group."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from raymu.core.odds import Floats, ShardFate


def fate_of_lone_shard(
    *, slice_samples: Sequence[float], epochs: Sequence[int], hit: Floats, first: int, sizes: npt.NDArray[np.int64]
) -> ShardFate:
    """Of a shard that has no other's models to calibrate its patches by, but its own checkpoints below them.

    Below the first slice there is none: a remedy from there on is a retraining, after which the shard owes nothing again.
    So what it owes is a chain, and its samples that are gone are carried along, by what it owes.
    hit: (slices,), chance that a request is in this slice; first: the first one that is retrained within the boundary
    sizes: of the groups, in requests
    """
    samples, slices = np.array(slice_samples), len(slice_samples)
    owed = np.arange(slices + 1)  # the earliest slice that it owes, or as many as there are slices where it owes none
    start = np.minimum(owed[:, None], np.arange(slices))  # (owed, earliest slice that a group names)
    is_retrained = (start == 0) | (start >= first)
    then_owed = np.where(is_retrained, slices, start)
    in_stage = np.arange(slices) >= start[:, :, None]
    chance, gone = np.eye(slices + 1)[slices], np.zeros((slices + 1, slices))
    patched, named = np.zeros(slices + 1), 0.0  # by what was owed before
    retained, retrained = np.zeros((slices + 1, slices)), 0.0
    for size in sizes.tolist():
        earliest, names = _group(hit, size)
        path = chance[:, None] * earliest
        gone_then = gone[:, None] * earliest[:, None] + chance[:, None, None] * names
        left = samples * path[:, :, None] - gone_then
        passes = np.array(epochs) * left.cumsum(axis=2) * in_stage
        retrained += float(passes[is_retrained].sum())
        patched += (path * ~is_retrained).sum(axis=1)
        named += float((chance[:, None] * names.sum(axis=1) * ~is_retrained).sum())
        retained += (left * ~is_retrained[:, :, None]).sum(axis=1)
        chance, gone = np.zeros_like(chance), np.zeros_like(gone)
        np.add.at(chance, then_owed, path)
        np.add.at(gone, then_owed, gone_then)
    to_settle = np.array(epochs) * (samples * chance[:, None] - gone).cumsum(axis=1)
    return ShardFate(
        remedies=float(len(sizes)),
        patched_first=float(patched[slices]),
        patched_later=float(patched[:slices].sum()),
        named=named,
        retained_first=retained[slices],
        retained_later=retained[:slices].sum(axis=0),
        retrained_passes=retrained,
        owes=float(chance[:slices].sum()),
        owed_passes=float(to_settle[np.arange(slices) >= owed[:, None]].sum()),
    )


def _group(hit: Floats, size: int) -> tuple[Floats, Floats]:
    """By the earliest slice that a group names: its chance, and the samples named of each slice, times that chance.

    A group names nothing before a slice where all its requests are in it or later; less those that are all later still.
    returns: (slices,), (slices, slices)
    """
    late = np.append(hit[::-1].cumsum()[::-1], 0.0)  # (slices + 1,): that a request is in this slice or later
    is_late = np.arange(len(hit)) >= np.arange(len(hit) + 1)[:, None]
    names = size * hit * is_late * (late ** (size - 1))[:, None]
    return -np.diff(late**size), -np.diff(names, axis=0)
