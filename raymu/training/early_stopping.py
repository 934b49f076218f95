"""Early stopping: when a stage is measured on held-out samples, when it ends, and which of its states it ends with."""

from collections.abc import Callable
from typing import Any, TypeAlias

from raymu.core.stage_measures import StageMeasures, Validation
from raymu.training.held_out import HeldOut

TrainingState: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
"""Copies of a model's state and of an optimizer's."""


class EarlyStopping:
    """Follows one stage. What it decides depends on the stage's own states and on the held-out samples alone."""

    def __init__(self, held_out: HeldOut | None, epochs: int) -> None:
        """Begin a stage.

        Args:
            held_out: The held-out samples; None without validation.
            epochs: The epochs of the stage, if it does not end early.
        """
        self._settings = held_out.settings if held_out is not None else None
        self._epochs = epochs
        self.trained_epochs = epochs
        """Epochs that were trained, once the stage has ended."""
        self._last: Validation | None = None
        self._best: Validation | None = None
        self._best_state: TrainingState | None = None
        self._without_gain = 0
        self.has_ended = False
        """Whether the stage ends before its last epoch."""

    def is_due(self, epoch: int) -> bool:
        """Return whether the state after an epoch, counted from 0, is measured."""
        if self._settings is None:
            return False
        return epoch + 1 == self._epochs or (epoch + 1) % self._settings.every == 0

    def take_up(self, epoch: int, validation: Validation, copy_of_state: Callable[[], TrainingState]) -> None:
        """Take up a measured state. It is copied if it is the best one so far, and others may follow.

        Args:
            epoch: The epoch that it was trained to, counted from 0.
            validation: What was measured.
            copy_of_state: Copies the state.
        """
        assert self._settings is not None, "without held-out samples nothing is due"
        self._last = validation
        patience = self._settings.patience
        if patience is None:
            return
        if validation.is_better_than(self._best, self._settings.metric):
            is_last = epoch + 1 == self._epochs
            self._best, self._without_gain = validation, 0
            self._best_state = None if is_last else copy_of_state()
            return
        self._without_gain += 1
        if self._without_gain >= patience:
            self.trained_epochs, self.has_ended = epoch + 1, True

    @property
    def best_state(self) -> TrainingState | None:
        """The state to go back to; None if the last one is kept."""
        return self._best_state

    @property
    def measures(self) -> StageMeasures:
        """What the stage ends with."""
        kept = self._last if self._best is None else self._best
        return StageMeasures(epochs=self.trained_epochs).with_validation(kept)
