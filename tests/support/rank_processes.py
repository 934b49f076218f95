"""Ranks as processes that communicate over gloo. The processes import this module, so it is not a test module."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch.distributed as dist

from raymu.training.ranks import DistributedRanks
from raymu.training.stages import StageResult, StageTask, train_stages

Outcome = list[StageResult] | BaseException


class RankProcesses:
    """Worker processes, started once, that train one task after another."""

    def __init__(self, ends: "list[Connection[object, Outcome]]", folder: Path) -> None:
        self._ends, self._folder, self._meetings = ends, folder, 0

    def train(self, stages: StageTask, *, lost: int | None = None) -> list[Outcome]:
        """Return the stages or the error of each rank. The rank `lost` ends after one stage without a message."""
        self._meetings += 1
        meeting = str(self._folder / f"meeting-{self._meetings}")
        ends = self._ends[: stages.spec.workers]
        for rank, end in enumerate(ends):
            end.send((stages, rank, meeting, rank == lost))
        return [end.recv() for rank, end in enumerate(ends) if rank != lost]


@contextmanager
def rank_processes(count: int, folder: Path) -> Iterator[RankProcesses]:
    context = get_context("spawn")
    pipes = [Pipe() for _ in range(count)]
    workers = [context.Process(target=_train_on_request, args=(theirs,)) for _, theirs in pipes]
    for worker, (_, theirs) in zip(workers, pipes, strict=True):
        worker.start()
        theirs.close()  # so that a worker's end is seen
    try:
        yield RankProcesses([ours for ours, _ in pipes], folder)
    finally:
        for ours, _ in pipes:
            with suppress(BrokenPipeError):
                ours.send(None)
        for worker in workers:
            worker.join()


def _train_on_request(end: "Connection[Outcome, tuple[StageTask, int, str, bool] | None]") -> None:
    while (order := end.recv()) is not None:
        stages, rank, meeting, is_lost = order
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=stages.spec.workers)
        trained = train_stages(stages, DistributedRanks())
        if is_lost:
            next(trained)
            return
        try:
            end.send(list(trained))
        except Exception as error:
            end.send(error)
        dist.destroy_process_group()
