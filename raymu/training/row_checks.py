"""What is looked at of single rows when they are placed. Nothing here imports PyTorch, which takes a second and 200 MB."""

from typing import TYPE_CHECKING

from raymu.data.rows import Columns
from raymu.errors import ConfigInvalid, RaymuError
from raymu.text import one_line

if TYPE_CHECKING:
    from raymu.training.tasks import Task

PROBE_SAMPLES = 8
"""Samples that the probe of a training takes, if a shard has so many."""


def check_task_rows(task: "Task", rows: Columns, *, name: str, source: str) -> None:
    """Let a task check rows, all of a table or a part of it.

    Args:
        task: The task.
        rows: The rows.
        name: What messages call the task.
        source: The table, for messages.

    Raises:
        DataInvalid: A sample does not fit the task.
        ConfigInvalid: The task fails on these samples.
    """
    try:
        task.check(rows.table, source)
    except RaymuError:
        raise
    except Exception as error:  # of a task of the user's
        raise ConfigInvalid(f"task: {name} fails on {source} ({type(error).__name__}: {one_line(error)})") from error
