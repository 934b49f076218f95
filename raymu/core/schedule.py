"""How many epochs each stage trains, and at which learning rate."""

import bisect
import math
from collections.abc import Callable, Mapping

from raymu.text import plural


def epochs_per_stage(epochs: int, slices: int) -> tuple[int, ...]:
    """SISA's rule e' = 2e/(R+1) for every stage (Bourtoule et al., S&P 2021), rounded by carrying.

    Stage r passes over r + 1 slices, so the carried rest is counted in slices: the work adds up to epochs * slices slice
    passes, as nearly as whole epochs allow. Raises ValueError, with the bound, where a stage would get no epoch.
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
    wanted, done = 0.0, 0
    for width in range(1, slices + 1):
        wanted += 2 * epochs / (slices + 1) * width
        stage_epochs = max(0, math.floor((wanted - done) / width + 0.5))
        per_stage.append(stage_epochs)
        done += stage_epochs * width
    return tuple(per_stage)


def constant(progress: float) -> float:  # noqa: ARG001 - one signature for every course
    return 1.0


def linear(progress: float) -> float:
    return 1.0 - progress


def cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


LR_SCHEDULES: Mapping[str, Callable[[float], float]] = {"constant": constant, "linear": linear, "cosine": cosine}


def learning_rate(base: float, course: str, *, stage: int, stage_decay: float, epoch: int, epochs: int) -> float:
    """The rate of one epoch of a stage: the stage's base rate times the course's factor at the epoch's start."""
    return base * stage_decay**stage * LR_SCHEDULES[course](epoch / epochs)
