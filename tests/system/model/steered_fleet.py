"""A fleet whose workers advance stage by stage at a test's command, on several shards at once."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass

from raymu.service.shard.messages import Progress, ShardLocations, StageProgress, Work, WorkReport
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore


@dataclass(kw_only=True, slots=True, eq=False)
class RunningWork:
    """One piece of work, and its progress."""

    shard: int
    steps: Generator[StageProgress | WorkReport]
    progress: Progress
    reply: "asyncio.Future[WorkReport]"


class SteeredFleet:
    """One worker per shard. Like an actor, each remembers what it wrote, and does one piece of work after another."""

    workers = 2

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._workers = [ShardWorker(store) for _ in range(store.config.partition.shards)]
        self._running: list[RunningWork] = []

    @property
    def running(self) -> list[int]:
        """The shards with work that a caller waits for."""
        self._running = [piece for piece in self._running if not piece.reply.done()]
        return sorted({piece.shard for piece in self._running})

    async def warm_up(self) -> None:
        pass

    async def locations(self) -> ShardLocations:
        return {}

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        reply: asyncio.Future[WorkReport] = asyncio.get_running_loop().create_future()
        steps = self._workers[work.shard].run(work)
        self._running.append(RunningWork(shard=work.shard, steps=steps, progress=progress, reply=reply))
        return await reply

    def advance(self, shard: int, *, steps: int, is_reply_lost: bool = False) -> None:
        """Let a shard's worker do some stages; the report counts as a stage."""
        piece = self._piece(shard)
        try:
            for done in (next(piece.steps) for _ in range(steps)):
                if isinstance(done, StageProgress):
                    piece.progress(done)
                    if self._has_failed_to_write(shard):
                        next(piece.steps)  # which raises why
                elif is_reply_lost:
                    return self.lose_worker(shard)
                else:
                    return piece.reply.set_result(done)
        except Exception as error:  # the coordinator gets the error that ended the worker
            piece.reply.set_exception(error)

    def finish(self) -> None:
        """Let every worker finish its work."""
        for shard in self.running:
            self.advance(shard, steps=99)

    def lose_worker(self, shard: int) -> None:
        """Lose a worker, with everything in its memory."""
        self._piece(shard).steps.close()  # what it was writing is written: the next worker has a process of its own
        self._workers[shard] = ShardWorker(self._store)
        self._piece(shard).reply.set_exception(ConnectionError("the worker is gone"))

    async def close(self) -> None:
        pass

    def _has_failed_to_write(self, shard: int) -> bool:
        """Wait for what a worker writes beside its work, so that the n-th step on the disk is always the same one."""
        behind = self._workers[shard]._stages._behind
        if behind._thread is not None:
            behind._thread.join()
        return behind._error is not None

    def _piece(self, shard: int) -> RunningWork:
        return next(piece for piece in self._running if piece.shard == shard and not piece.reply.done())
