"""The facts that built-in tasks are made from, besides their own settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from raymu.config import TargetName
from raymu.config.data import NormalizeSetting


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFacts:
    """What a built-in task is made from."""

    columns: tuple[str, ...]
    """Names of the columns of features; one name for an array."""
    column_kinds: Mapping[str, str]
    """The kind of each column, as the training table had them; empty for tasks that ask for none."""
    target: TargetName
    normalize: NormalizeSetting
    """`data.normalize`."""
    takes_integers: bool
    """Whether the model of the task `tensor` takes int64."""
