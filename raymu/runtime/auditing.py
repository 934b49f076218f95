"""An audit's models, each trained by a Ray task."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig
from raymu.errors import WorkerLost, in_one_line
from raymu.learn.audit.models import AuditedModel, AuditTask, train_model
from raymu.runtime.actors import cause
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.placement import task_options

_TrainModel: Any = ray.remote(train_model)
_RETRIES = 3
"""Of a task whose worker died: a model is a function of its arguments, so it may be trained again."""


@contextmanager
def audit_runner(cluster: ClusterConfig) -> Iterator[Callable[[Sequence[AuditTask]], Iterator[AuditedModel]]]:
    """Stay connected while an audit's tasks run, and end those that nobody waits for any more.

    returns: what `audit` takes as run_tasks. Raises DeviceUnavailable.
    """
    calls: list[Any] = []
    with cluster_connection(cluster):
        try:
            yield lambda tasks: _run_tasks(tasks, calls, cluster)
        finally:
            for call in calls:
                ray.cancel(call)


def _run_tasks(tasks: Sequence[AuditTask], calls: list[Any], cluster: ClusterConfig) -> Iterator[AuditedModel]:
    """Start all, and give the models in the tasks' order. A pool is sent once, for all the tasks of its shard.

    calls: where what is started is noted. Raises WorkerLost, and what a task itself raises.
    """
    pools = {task.pool.shard: task.pool for task in tasks}
    sent = {shard: ray.put(pool) for shard, pool in pools.items()}
    train = _TrainModel.options(**task_options(cluster), max_retries=_RETRIES)
    calls.extend(train.remote(sent[task.pool.shard], task.kind, task.number) for task in tasks)
    return map(_trained, tasks, calls)


def _trained(task: AuditTask, call: Any) -> AuditedModel:
    """Wait for one of them."""
    try:
        return cast(AuditedModel, ray.get(call))
    except RayTaskError as error:
        raise cause(error) from None
    except RayError as error:
        raise WorkerLost(task.pool.shard, 1 + _RETRIES, in_one_line(error)) from error
