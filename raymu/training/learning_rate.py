"""The learning rate of every step of a stage."""

import math

from raymu.config import TrainingConfig
from raymu.config.training import ScheduleConfig
from raymu.core.schedule import SCHEDULES, Schedule, rate_factor
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.factories import call_factory


class LearningRate:
    """Turns the configured schedule into rates."""

    def __init__(self, training: TrainingConfig) -> None:
        """Build the schedule. Raises ConfigInvalid if its factory fails."""
        self._training, self._schedule = training, build_schedule(training.schedule)

    def of_epoch(self, *, stage: int, epoch: int, epochs: int, steps: int) -> list[float]:
        """Compute the rate of each step of an epoch.

        Args:
            stage: Number of the stage, from 0.
            epoch: Number of the epoch within the stage, from 0.
            epochs: Epochs of the stage.
            steps: Batches of each epoch.
        """
        settings = self._training.schedule
        base = self._training.learning_rate * self._training.stage_decay**stage
        if settings.per == "epoch":
            return [base * self._factor(epoch, epochs)] * steps
        return [base * self._factor(epoch * steps + step, epochs * steps) for step in range(steps)]

    def _factor(self, done: int, total: int) -> float:
        return rate_factor(self._schedule, done=done, total=total, warm_up=self._training.schedule.warm_up)


def build_schedule(config: ScheduleConfig) -> Schedule:
    """Build the configured schedule. Raises ConfigInvalid."""
    if config.name is not None:
        return SCHEDULES[config.name]
    schedule: Schedule = call_factory("training.schedule", config)
    try:
        factors = [float(schedule(tenth / 10.0)) for tenth in range(10)]
    except Exception as error:  # whatever the user's own code raises
        raise ConfigInvalid(f"training.schedule.factory: {config.factory} failed ({one_line(error)})") from error
    if not all(math.isfinite(factor) and factor >= 0.0 for factor in factors):
        raise ConfigInvalid(
            f"training.schedule.factory: {config.factory} gives {factors}; factors are numbers from 0 up"
        )
    return schedule
