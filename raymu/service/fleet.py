"""Who carries out the shards' work: a fleet's interface, and the fleet that runs every shard in this process."""

from collections.abc import Collection
from typing import Protocol

from raymu.service.shard import ShardWorker
from raymu.service.work import Progress, StageTrained, Work, WorkReport
from raymu.store.run import RunStore


class ShardFleet(Protocol):
    """Runs pieces of work on as many workers as there are, each piece on one of them."""

    @property
    def workers(self) -> int: ...

    @property
    def at_work(self) -> Collection[int]:
        """The shards that workers are at; the others' work waits, and begins nowhere once it is cancelled."""

    async def run(self, work: Work, progress: Progress) -> WorkReport: ...

    async def close(self) -> None: ...


class LocalFleet:
    """One worker in this process: one shard after the other, under a debugger if need be."""

    workers = 1
    at_work: Collection[int] = ()
    """Nothing, whenever anybody else has a turn: a shard's work goes on to its end."""

    def __init__(self, store: RunStore) -> None:
        self._worker = ShardWorker(store)

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        for report in self._worker.run(work):
            if not isinstance(report, StageTrained):
                return report
            progress(report)
        raise AssertionError("a worker's last word is its report")

    async def close(self) -> None:
        pass
