"""The number of epochs of each stage. The rule lies beside the settings that it bounds: epochs and slices."""

import bisect
import math

from raymu.text import plural


def epochs_per_stage(epochs: int, slices: int) -> tuple[int, ...]:
    """Apply SISA's rule e' = 2e/(R+1) to every stage (Bourtoule et al., S&P 2021), rounded by carrying.

    Stage r passes over r + 1 slices, so the carried rest is counted in slices: the work adds up to epochs * slices slice
    passes, as nearly as whole epochs allow. Raises ValueError, with the bound, if a stage would get no epoch.
    """
    per_stage = _carried(epochs, slices)
    if min(per_stage) < 1:
        bound = bisect.bisect_left(range(slices + 2), 1, lo=epochs, key=lambda more: min(_carried(more, slices)))
        raise ValueError(
            f"{plural(epochs, 'epoch')}, too few for {slices} slices: a stage would get none; use {bound} or more"
        )
    return per_stage


def _carried(epochs: int, slices: int) -> tuple[int, ...]:
    per_stage: list[int] = []
    target, done = 0.0, 0
    for width in range(1, slices + 1):
        target += 2 * epochs / (slices + 1) * width
        stage_epochs = max(0, math.floor((target - done) / width + 0.5))
        per_stage.append(stage_epochs)
        done += stage_epochs * width
    return tuple(per_stage)
