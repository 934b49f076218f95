"""The worker that does the work of several shards of a lane at once."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing

from raymu.service.shard.messages import LaneWait, StageProgress, Work, WorkReport
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore
from raymu.training.lane_stages import LaneStages


class LaneWorker:
    """Trains and repairs shards of one lane together."""

    def __init__(self, store: RunStore, stages: LaneStages | None = None) -> None:
        """Prepare for work. stages: trains them; the default asks for no other threads of this process"""
        self._store, self._width = store, store.config.cluster.shards_per_lane
        self._stages = stages or LaneStages()
        self._workers: dict[int, ShardWorker] = {}  # by place

    def run(self, works: Sequence[Work]) -> Generator[StageProgress | WorkReport]:
        """Do several pieces of work, of different shards of a lane.

        Yields:
            Progress and reports of all shards. Each names its shard.

        Raises:
            RaymuError: What one of them raises; the others are broken off, and may be done again.
        """
        workers = [self._worker(work.shard % self._width) for work in works]
        try:
            with ExitStack() as stack:
                running = [
                    stack.enter_context(closing(worker.run_in_lane(work)))
                    for worker, work in zip(workers, works, strict=True)
                ]
                while running:
                    for messages in list(running):
                        message = next(messages, None)
                        while message is not None and not isinstance(message, LaneWait):
                            yield message
                            message = next(messages, None)
                        if message is None:
                            running.remove(messages)
                    if self._stages.is_waiting:
                        self._stages.train_next()
        finally:
            for worker in workers:
                worker.evict()  # another worker may have these shards next, and nobody would tell this one

    def _worker(self, place: int) -> ShardWorker:
        if place not in self._workers:
            self._workers[place] = ShardWorker(self._store, self._stages)
        return self._workers[place]
