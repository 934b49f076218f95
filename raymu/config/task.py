"""Settings of the branch `task`: what a sample is, and what a model is to tell of it."""

from enum import StrEnum

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from raymu.config.fields import STRICT
from raymu.config.tabular import TabularSettings
from raymu.config.training import Component, LossName


class TaskName(StrEnum):
    """The built-in tasks: rows of `raymu.training.tasks.TASKS`."""

    TENSOR = "tensor"
    """Every sample is one array of numbers: a column of lists or tensors, or columns of single numbers."""
    TABULAR = "tabular"
    """Every sample is a row of numbers, booleans, dates and categories, some of which may be missing."""
    IMAGE = "image"
    """Every sample is a picture: encoded, or an array."""
    TEXT = "text"
    """Every sample is a text, or the numbers of its tokens."""


class TargetName(StrEnum):
    """What a model tells of a sample: rows of `raymu.training.targets.TARGETS`."""

    CLASSES = "classes"
    """One class of several."""
    LABELS = "labels"
    """Any number of labels at once."""
    REGRESSION = "regression"
    """One number or several."""

    @property
    def default_loss(self) -> LossName:
        """The loss of a run whose configuration names none."""
        return _DEFAULT_LOSSES[self]


_DEFAULT_LOSSES = {
    TargetName.CLASSES: LossName.CROSS_ENTROPY,
    TargetName.LABELS: LossName.BINARY_CROSS_ENTROPY,
    TargetName.REGRESSION: LossName.SQUARED_ERROR,
}


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TaskConfig(Component):
    """The task. A factory returns a `raymu.Task`."""

    name: TaskName | None = None
    target: TargetName = TargetName.CLASSES
    """What the model tells of a sample."""

    @model_validator(mode="after")
    def _settings_fit(self) -> "TaskConfig":
        if self.name is TaskName.TABULAR:
            TabularSettings.parse(self.args)
        return self

    @property
    def tabular(self) -> TabularSettings | None:
        """Settings of the task `tabular`; None for others."""
        return TabularSettings.parse(self.args) if self.name is TaskName.TABULAR else None

    @property
    def keeps_columns(self) -> bool:
        """Whether the run keeps its samples as columns of a table, and not as one array."""
        return self.name is not TaskName.TENSOR
