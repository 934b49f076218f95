"""A shard's stages by several workers: Ray Train starts them for a piece of work, and starts others where some are lost.

The shard's actor keeps what is to be trained and what is trained already. So workers leave nothing behind that others
would need: those who come after a loss go on from the last stage's checkpoint. Ray Train itself is given no samples and
no checkpoints, and keeps none.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from uuid import uuid4

import ray
import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from raymu.config import ClusterConfig, Device
from raymu.errors import RankLost, RaymuError, WorkerLost
from raymu.runtime.leaked_placement_groups import release_abandoned_room
from raymu.runtime.placement import backend_of, shard_bundle, task_options
from raymu.runtime.placement_group import STRATEGIES
from raymu.runtime.ray_internals import as_remote
from raymu.runtime.shard_actor import ShardService
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore
from raymu.text import one_line
from raymu.training.determinism import device_or_cpu
from raymu.training.ranks import DistributedRanks
from raymu.training.stages import StageResult, StageTask, train_stages

_LOSSES = 3
"""How often workers are started anew in one piece of work before their loss is reported."""
_PATIENCE_S = 3.0
"""How long nothing happens before a look whether workers lack room."""
_RAY_TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # two seconds otherwise, which the end of all work waits for
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more, for warnings that nobody here asks for
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a model's factory is imported from where it is imported elsewhere
}


class DataParallelShard(ShardService):
    """As an actor it needs a thread for its work, and one for the workers, who call it meanwhile.

    It asks for no resources, since they do. So all but the training of stages is done on its CPU: patches, by playing
    the ranks one after the other.
    """

    _cluster: ClusterConfig
    _desk: "StageExchange | None" = None

    def next_stage(self) -> int | None:
        """Where workers are to begin; None where nothing is left to train, or nobody wants it any more."""
        return self._desk.next_stage if self._desk else None

    def stages_from(self, first: int) -> tuple[str, Any, bytes | None]:
        """The desk's token, the stages, in the object store, and the checkpoint to begin with. Raises RankLost"""
        assert self._desk
        return self._desk.token, self._desk.stages, self._desk.checkpoint_before(first)

    def hand_in(self, token: str, trained: StageResult) -> int | None:
        """returns: where to go on, as next_stage does"""
        return self._desk.take(token, trained) if self._desk else None

    def give_up(self, token: str, error: RaymuError) -> None:
        """What the stages' own code raised: nobody is to try again."""
        if self._desk:
            self._desk.give_up(token, error)

    def _made(self, store: RunStore) -> ShardWorker:
        self._cluster = store.config.cluster
        return ShardWorker(store, self._train_by_workers, device="cpu")

    def _train_by_workers(self, stages: StageTask) -> Iterator[StageResult]:
        """Who wants no more waits for the stage that workers are at. Raises WorkerLost, and what training raises."""
        self._desk = desk = StageExchange(stages)
        home = ray.get_runtime_context().current_actor
        workers = Thread(target=_run_workers, args=(home, desk, self._cluster, stages), daemon=True)
        workers.start()
        try:
            yield from desk.handed_in()
        finally:
            desk.close()
            while workers.is_alive():  # what they hold, the next piece of work waits for
                workers.join(_PATIENCE_S)
                release_abandoned_room()
            self._desk = None


class StageExchange:
    """Where stages are handed in, by workers who come and go. Its user waits in one thread, they call in another."""

    def __init__(self, stages: StageTask) -> None:
        self.stages = ray.put(stages)
        self.token = uuid4().hex
        """Whoever trains these stages has it. Workers of an earlier piece of work, taken for lost, may come late."""
        self._next, self._end, self._checkpoint = stages.first, stages.end, stages.checkpoint
        self._is_closed = False
        self._arrivals: SimpleQueue[StageResult | Exception] = SimpleQueue()

    @property
    def next_stage(self) -> int | None:
        """None where nothing is left to train, or nobody wants it any more."""
        return None if self._is_closed or self._next == self._end else self._next

    def checkpoint_before(self, stage: int) -> bytes | None:
        """The last one alone is kept. Raises RankLost where the stage was handed in since, by workers taken for lost."""
        if stage != self.next_stage:
            raise RankLost(f"stage {stage} is not the next any more")
        return self._checkpoint

    def take(self, token: str, trained: StageResult) -> int | None:
        """returns: where to go on; None also where it belongs to another desk"""
        if token != self.token:
            return None
        if trained.stage == self.next_stage:  # else handed in before, by one who was lost since
            self._next, self._checkpoint = trained.stage + 1, trained.checkpoint
            self._arrivals.put(trained)
        return self.next_stage

    def give_up(self, token: str, error: Exception) -> None:
        if token == self.token:
            self.end(error)

    def end(self, error: Exception) -> None:
        self.close()
        self._arrivals.put(error)

    def close(self) -> None:
        """Take nothing any more."""
        self._is_closed = True

    def handed_in(self) -> Iterator[StageResult]:
        """Each stage once, in their order. Raises what ended the work."""
        last = -1
        while last < self._end - 1:
            try:
                arrived = self._arrivals.get(timeout=_PATIENCE_S)
            except Empty:
                release_abandoned_room()  # others may have been lost, and workers wait for their room
                continue
            if isinstance(arrived, Exception):
                raise arrived
            last = arrived.stage
            yield arrived


def _run_workers(home: Any, desk: StageExchange, cluster: ClusterConfig, stages: StageTask) -> None:
    """Until all is handed in, or given up."""
    problem = "they ended before their work did"
    try:
        _fit(home, cluster, stages)
    except (TrainingFailedError, RayError) as error:
        problem = one_line(error)
    except Exception as error:  # whatever it is, somebody waits for it
        desk.end(error)
    desk.end(WorkerLost(stages.shard, 1 + _LOSSES, problem))  # which nobody waits for where all is handed in


def _fit(home: Any, cluster: ClusterConfig, stages: StageTask) -> None:
    """Raises TrainingFailedError, and RayError where Ray Train's own process is lost too often."""
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    for losses in range(1 + _LOSSES):
        try:
            with TemporaryDirectory(prefix="raymu-") as folder:  # for Ray Train's own notes
                _trainer(home, cluster, stages, folder).fit()
            return
        except RayError:
            if losses == _LOSSES:
                raise


def _trainer(home: Any, cluster: ClusterConfig, stages: StageTask, folder: str) -> TorchTrainer:
    return TorchTrainer(
        partial(_work, home),
        torch_config=TorchConfig(backend=backend_of(cluster, is_cuda=_have_cuda(cluster, stages.device))),
        scaling_config=ScalingConfig(
            num_workers=cluster.workers_per_shard,
            use_gpu=cluster.gpus_per_shard > 0,
            resources_per_worker=shard_bundle(cluster),
            placement_strategy=STRATEGIES.get(cluster.placement, "PACK"),
        ),
        run_config=RunConfig(
            name=f"shard-{stages.shard}", storage_path=folder, failure_config=FailureConfig(max_failures=_LOSSES)
        ),
    )


def _have_cuda(cluster: ClusterConfig, wish: Device) -> bool:
    """As one finds who has the workers' resources: this process has none, and may be on a node of another kind."""
    if wish == "cpu":
        return False
    device: torch.device = ray.get(as_remote(device_or_cpu).options(**task_options(cluster)).remote(wish))
    return device.type == "cuda"


def _work(home: Any) -> None:
    """One worker's part: all of them train the same stages, and the first hands them in."""
    ranks = DistributedRanks()
    first = _agreed(ranks, home.next_stage)
    if first is None:
        return
    token, reference, checkpoint = ray.get(home.stages_from.remote(first))
    stages: StageTask = replace(ray.get(reference), first=first, checkpoint=checkpoint)
    try:
        for trained in train_stages(stages, ranks):
            if _agreed(ranks, home.hand_in, token, trained) is None:
                return
    except RankLost:
        raise
    except RaymuError as error:
        ray.get(home.give_up.remote(token, error))
        raise  # the others may wait for this one: Ray Train ends them all


def _agreed(ranks: DistributedRanks, ask: Any, *about: Any) -> int | None:
    """The next stage, as the shard's actor says to the first rank. Raises RankLost."""
    said: int | None = ray.get(ask.remote(*about)) if 0 in ranks.own else None
    stage = ranks.agree(-1 if said is None else said)
    return None if stage < 0 else stage
