"""The models of an audit, each trained by a Ray task."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig
from raymu.errors import WorkerLost
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.nodes import this_node
from raymu.runtime.ray_errors import first_sentence, unwrap
from raymu.runtime.ray_internals import as_remote
from raymu.runtime.shard_resources import task_options
from raymu.service.audit.repetition import train_audited
from raymu.training.audit.shadow_models import AuditedModel, AuditTask

_RETRIES = 3
"""How often a task is tried again after its worker died. A model depends on the task's arguments alone."""


@contextmanager
def audit_runner(cluster: ClusterConfig) -> Iterator[Callable[[Sequence[AuditTask]], Iterator[AuditedModel]]]:
    """Stay connected while an audit's tasks run. At the end, stop those that are left.

    Yields:
        A function that trains tasks, for the argument `run_tasks` of `audit`.

    Raises:
        DeviceUnavailable: The cluster cannot be joined, or has no room.
    """
    with cluster_connection(cluster):
        owner = _TaskOwnerActor.options(num_cpus=0, scheduling_strategy=this_node()).remote(cluster)
        try:
            yield partial(_run_tasks, owner)
        finally:
            ray.kill(owner)


class _TaskOwner:
    """Owns the tasks, so that Ray stops them when it is killed.

    The alternative, to cancel each task, may abort this process if a task ends at the same time.
    """

    def __init__(self, cluster: ClusterConfig) -> None:
        self._train = as_remote(train_audited).options(**task_options(cluster), max_retries=_RETRIES)

    def run(self, tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
        """Start all tasks, and yield the models in their order.

        The tasks of a shard share one copy of its samples, and one of its remedy.

        Raises:
            WorkerLost: A task's worker died at every attempt.
            RaymuError: What a task itself raises.
        """
        samples = {task.samples.shard: ray.put(task.samples) for task in _first_of_each_shard(tasks)}
        remedies = {
            task.samples.shard: ray.put(task.remedy)
            for task in _first_of_each_shard([task for task in tasks if task.remedy])
        }
        calls = [
            self._train.remote(
                samples[task.samples.shard],
                task.kind,
                task.number,
                remedies[task.samples.shard] if task.remedy else None,
            )
            for task in tasks
        ]
        for task, call in zip(tasks, calls, strict=True):
            try:
                yield ray.get(call)
            except RayTaskError as error:
                raise unwrap(error) from None
            except RayError as error:
                raise WorkerLost(task.samples.shard, 1 + _RETRIES, first_sentence(error)) from error


def _first_of_each_shard(tasks: Sequence[AuditTask]) -> list[AuditTask]:
    return list({task.samples.shard: task for task in reversed(tasks)}.values())


_TaskOwnerActor: Any = as_remote(_TaskOwner)


def _run_tasks(owner: Any, tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
    """Start the tasks now, not when the first model is read."""
    return _models(owner.run.remote(tasks), tasks[0].samples.shard)


def _models(stream: Any, shard: int) -> Iterator[AuditedModel]:
    """Yield the models of a stream. If its owner is lost, the error names `shard`."""
    try:
        for reference in stream:
            yield ray.get(reference)
    except RayTaskError as error:
        raise unwrap(error) from None
    except RayError as error:
        raise WorkerLost(shard, 1, first_sentence(error)) from error
