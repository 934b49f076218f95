"""Learning-rate schedules: the factor on the learning rate in the course of a stage."""

import math
from collections.abc import Callable, Mapping

from raymu.config.training import ScheduleName

Schedule = Callable[[float], float]
"""Returns the factor for the trained share of the stage, within [0, 1)."""


def constant(progress: float) -> float:  # noqa: ARG001 - one signature for every schedule
    return 1.0


def linear(progress: float) -> float:
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Fall along half a cosine (Loshchilov and Hutter, ICLR 2017, equation 5, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: Mapping[ScheduleName, Schedule] = {
    ScheduleName.CONSTANT: constant,
    ScheduleName.LINEAR: linear,
    ScheduleName.COSINE: cosine,
}


def rate_factor(schedule: Schedule, *, done: int, total: int, warm_up: float = 0.0) -> float:
    """Compute the factor on the learning rate of the next epoch or step.

    Args:
        schedule: It begins after the warm-up, and ends with the stage.
        done: Epochs or steps of the stage that are trained.
        total: Epochs or steps of the stage.
        warm_up: Share of the stage in which the factor rises linearly to that of the schedule's beginning.
    """
    warm = warm_up * total
    if done < warm:
        return min(1.0, (done + 1) / warm) * schedule(0.0)
    return schedule((done - warm) / (total - warm))
