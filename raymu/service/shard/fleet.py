"""Who carries out the shards' work: a fleet's interface, and the fleet that runs every shard in this process."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Protocol

from raymu.core.commands import RepairReport
from raymu.core.records import Remedy
from raymu.service.shard.messages import FleetLoad, Progress, ShardLocations, StageProgress, Work, WorkReport
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore


class ShardFleet(Protocol):
    """Runs pieces of work on as many workers as there are, each piece on one of them."""

    @property
    def workers(self) -> int: ...

    @property
    def at_work(self) -> Collection[int]:
        """The shards that workers are at; the others' work waits, and begins nowhere once it is cancelled."""

    async def run(self, work: Work, progress: Progress) -> WorkReport: ...

    async def warm_up(self) -> None:
        """Start the workers, and wait until they answer."""

    async def locations(self) -> ShardLocations:
        """Say which actor has which shard in memory."""
        ...

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
            if not isinstance(report, StageProgress):
                return report
            progress(report)
        raise AssertionError("a worker's last word is its report")

    async def warm_up(self) -> None:
        """Do nothing: the worker is this process."""

    async def locations(self) -> ShardLocations:
        """Return nothing: no actor has a shard in memory."""
        return {}

    async def close(self) -> None:
        pass


class ProgressFleet:
    """A fleet whose progress tells how much is at work, waits and is done; patches, which have no stages, are told too."""

    def __init__(self, fleet: ShardFleet, tell: Callable[[StageProgress], None] = lambda _stage: None) -> None:
        """tell: of the progress of all work, whoever asked for it"""
        self._fleet, self._tell = fleet, tell
        self._given: list[Work] = []  # in order of arrival, which is the order in which workers come to it
        self._done = 0

    @property
    def workers(self) -> int:
        return self._fleet.workers

    @property
    def at_work(self) -> Collection[int]:
        return self._fleet.at_work

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        if not self._given:
            self._done = 0
        self._given.append(work)
        try:
            await asyncio.sleep(0)  # what is given together is known before any of it begins
            report = await self._fleet.run(work, partial(self._told, progress))
            if isinstance(report, RepairReport) and report.remedy is not Remedy.RETRAIN:
                self._told(progress, _as_one_stage(report))
            self._done += 1
            return report
        finally:
            self._given.remove(work)

    async def warm_up(self) -> None:
        await self._fleet.warm_up()

    async def locations(self) -> ShardLocations:
        return await self._fleet.locations()

    async def close(self) -> None:
        await self._fleet.close()

    def _told(self, progress: Progress, stage: StageProgress) -> None:
        stage = replace(stage, load=self._load)
        self._tell(stage)
        progress(stage)

    @property
    def _load(self) -> FleetLoad:
        at_work = tuple(work.shard for work in self._given[: self.workers])
        return FleetLoad(at_work=at_work, waiting=len(self._given) - len(at_work), done=self._done)


def _as_one_stage(report: RepairReport) -> StageProgress:
    return StageProgress(
        shard=report.shard,
        stage=report.lineage.slices - 1,
        first=report.lineage.slices - 1,
        stages=1,
        remedy=report.remedy,
        passes=report.passes,
        seconds=report.seconds,
    )
