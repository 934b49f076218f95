"""Learning-rate schedules."""

import math
from collections.abc import Callable, Mapping


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
