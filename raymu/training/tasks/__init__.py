"""Tasks: rows of the table `TASKS`, and any other one by its factory.

`task` has the base class. The other modules have one task each.
"""

from collections.abc import Callable, Mapping

from raymu.config import TaskConfig, TaskName
from raymu.errors import ConfigInvalid
from raymu.training.factories import call_factory, call_row
from raymu.training.tasks.facts import TaskFacts
from raymu.training.tasks.image import build_image
from raymu.training.tasks.tabular import build_tabular
from raymu.training.tasks.task import Fitted, Task
from raymu.training.tasks.tensor import TensorTask
from raymu.training.tasks.text import build_text

__all__ = ["TASKS", "Fitted", "Task", "TaskFacts", "build_task", "columns_of_factory"]


def build_tensor(facts: TaskFacts) -> Task:
    """Build the task `tensor`."""
    return TensorTask(normalize_setting=facts.normalize, takes_integers=facts.takes_integers)


TASKS: Mapping[TaskName, Callable[..., Task]] = {
    TaskName.TENSOR: build_tensor,
    TaskName.IMAGE: build_image,
    TaskName.TEXT: build_text,
    TaskName.TABULAR: build_tabular,
}
"""Each row takes the facts, and the user's keyword arguments."""


def build_task(config: TaskConfig, facts: TaskFacts) -> Task:
    """Build the configured task. Raises ConfigInvalid."""
    if config.name is not None:
        built: Task = call_row("task", config, TASKS[config.name], facts)
        return built
    task = call_factory("task", config)
    if not isinstance(task, Task):
        raise ConfigInvalid(
            f"task.factory: {config.factory} returned {type(task).__name__}; it must return a raymu.Task"
        )
    return task


def columns_of_factory(config: TaskConfig) -> tuple[str, ...] | None:
    """Return the columns that a user's task names itself; None if it names none. Raises ConfigInvalid."""
    if config.factory is None:
        return None
    task = call_factory("task", config)
    columns = task.columns if isinstance(task, Task) else None
    return None if columns is None else tuple(columns)
