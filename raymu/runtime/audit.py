"""The models of an audit, each trained by a Ray task, and the deletions of one with two snapshots."""

from collections.abc import Iterator, Sequence
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
from raymu.service.audit.snapshot_votes import ShardVotes, VotesTask, votes_after
from raymu.service.audit.tasks import RunAuditTasks
from raymu.training.audit.shadow_models import AuditedModel, AuditTask

_RETRIES = 3
"""How often a task is tried again after its worker died. A model depends on the task's arguments alone."""


@contextmanager
def audit_runner(cluster: ClusterConfig) -> Iterator[RunAuditTasks]:
    """Stay connected while an audit's tasks run. At the end, stop those that are left.

    Yields:
        A function that carries out tasks, for the argument `run_tasks` of `audit` and of `audit_two_snapshots`.

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
        options = {**task_options(cluster), "max_retries": _RETRIES}
        self._train, self._delete = (
            as_remote(function).options(**options) for function in (train_audited, votes_after)
        )

    def run(self, tasks: Sequence[AuditTask] | Sequence[VotesTask]) -> Iterator[AuditedModel | ShardVotes]:
        """Start all tasks, and yield their results in their order.

        Tasks share one copy of what is the same object in all of them: a shard's samples, its remedy.

        Raises:
            WorkerLost: A task's worker died at every attempt.
            RaymuError: What a task itself raises.
        """
        shared = _Shared()
        calls = [self._start(task, shared) for task in tasks]
        for task, call in zip([*tasks], calls, strict=True):
            try:
                yield ray.get(call)
            except RayTaskError as error:
                raise unwrap(error) from None
            except RayError as error:
                raise WorkerLost(_shard_of(task), 1 + _RETRIES, first_sentence(error)) from error

    def _start(self, task: AuditTask | VotesTask, shared: "_Shared") -> Any:
        if isinstance(task, VotesTask):
            return self._delete.remote(shared.put(task.shard), task.forget, task.remedy)
        remedy = shared.put(task.remedy) if task.remedy else None
        return self._train.remote(shared.put(task.samples), task.kind, task.number, remedy)


class _Shared:
    """Objects in Ray's store, each once."""

    def __init__(self) -> None:
        self._references: dict[int, tuple[object, Any]] = {}  # an id is of one object only as long as that is kept

    def put(self, value: object) -> Any:
        """Return the reference of an object."""
        if id(value) not in self._references:
            self._references[id(value)] = (value, ray.put(value))
        return self._references[id(value)][1]


def _shard_of(task: AuditTask | VotesTask) -> int:
    return task.shard.lineage.shard if isinstance(task, VotesTask) else task.samples.shard


_TaskOwnerActor: Any = as_remote(_TaskOwner)


def _run_tasks(owner: Any, tasks: Any) -> Iterator[Any]:
    """Start the tasks now, not when the first result is read."""
    return _results(owner.run.remote(tasks), _shard_of(tasks[0])) if tasks else iter(())


def _results(stream: Any, shard: int) -> Iterator[Any]:
    """Yield the results of a stream. If its owner is lost, the error names `shard`."""
    try:
        for reference in stream:
            yield ray.get(reference)
    except RayTaskError as error:
        raise unwrap(error) from None
    except RayError as error:
        raise WorkerLost(shard, 1, first_sentence(error)) from error
