"""An audit's models, each trained by a Ray task."""

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
from raymu.runtime.placement import task_options
from raymu.runtime.ray_errors import first_sentence, unwrap
from raymu.runtime.ray_internals import as_remote
from raymu.training.audit.shadow_models import AuditedModel, AuditTask, train_model

_RETRIES = 3
"""Of a task whose worker died: a model is a function of its arguments, so it may be trained again."""


@contextmanager
def audit_runner(cluster: ClusterConfig) -> Iterator[Callable[[Sequence[AuditTask]], Iterator[AuditedModel]]]:
    """Stay connected while an audit's tasks run, and end those that nobody waits for any more.

    returns: what `audit` takes as run_tasks. Raises DeviceUnavailable.
    """
    with cluster_connection(cluster):
        owner = _OwnerActor.options(num_cpus=0, scheduling_strategy=this_node()).remote(cluster)
        try:
            yield partial(_run_tasks, owner)
        finally:
            ray.kill(owner)


class _Owner:
    """Owns the tasks: Ray ends them with it, those at work too.

    Cancelling them instead may abort the process that does it, where one of them is just done.
    """

    def __init__(self, cluster: ClusterConfig) -> None:
        self._train = as_remote(train_model).options(**task_options(cluster), max_retries=_RETRIES)

    def run(self, tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
        """Start all, and give the models in the tasks' order. A pool is sent once, for all the tasks of its shard.

        Raises WorkerLost, and what a task itself raises.
        """
        pools = {task.pool.shard: task.pool for task in tasks}
        sent = {shard: ray.put(pool) for shard, pool in pools.items()}
        calls = [self._train.remote(sent[task.pool.shard], task.kind, task.number) for task in tasks]
        for task, call in zip(tasks, calls, strict=True):
            try:
                yield ray.get(call)
            except RayTaskError as error:
                raise unwrap(error) from None
            except RayError as error:
                raise WorkerLost(task.pool.shard, 1 + _RETRIES, first_sentence(error)) from error


_OwnerActor: Any = as_remote(_Owner)


def _run_tasks(owner: Any, tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
    """Starts at once. Raises WorkerLost, and what a task itself raises."""
    return _received(owner.run.remote(tasks), tasks[0].pool.shard)


def _received(models: Any, shard: int) -> Iterator[AuditedModel]:
    """shard: named where the owner is lost, on whose node this process is"""
    try:
        for model in models:
            yield ray.get(model)
    except RayTaskError as error:
        raise unwrap(error) from None
    except RayError as error:
        raise WorkerLost(shard, 1, first_sentence(error)) from error
