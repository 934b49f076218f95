"""An audit's models, each trained by a Ray task."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig
from raymu.errors import WorkerLost
from raymu.learn.audit.models import AuditedModel, AuditTask, train_model
from raymu.runtime.actors import cause
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.placement import task_options

_TrainModel: Any = ray.remote(train_model)
_RETRIES = 3
"""Of a task whose worker died: a model is a function of its arguments, so it may be trained again."""


@contextmanager
def audit_runner(cluster: ClusterConfig) -> Iterator[Callable[[Sequence[AuditTask]], Iterator[AuditedModel]]]:
    """Stay connected while an audit's tasks run. returns: what `audit` takes as run_tasks. Raises DeviceUnavailable."""
    with cluster_connection(cluster):
        yield lambda tasks: _run_tasks(tasks, cluster)


def _run_tasks(tasks: Sequence[AuditTask], cluster: ClusterConfig) -> Iterator[AuditedModel]:
    """Start all, and yield the models in the tasks' order. A pool is sent once, for all the tasks of its shard.

    Raises WorkerLost, and what a task itself raises.
    """
    pools = {task.pool.shard: task.pool for task in tasks}
    sent = {shard: ray.put(pool) for shard, pool in pools.items()}
    train = _TrainModel.options(**task_options(cluster), max_retries=_RETRIES)
    calls = [train.remote(sent[task.pool.shard], task.kind, task.number) for task in tasks]
    for task, call in zip(tasks, calls, strict=True):
        try:
            yield ray.get(call)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            raise WorkerLost(task.pool.shard, 1 + _RETRIES, " ".join(str(error).split())) from error
