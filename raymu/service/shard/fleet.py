"""Fleets: the interface, the fleet that runs every shard in this process, and a wrapper that adds the fleet's load."""

import asyncio
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from raymu.core.commands import RepairReport
from raymu.core.records import Remedy
from raymu.core.trust import CODE, demands_of
from raymu.imports import imports_uncollected
from raymu.service.shard.lanes import LaneQueue, Take, follow_lane, next_of
from raymu.service.shard.messages import (
    FleetLoad,
    Progress,
    ShardLocations,
    StageProgress,
    Work,
    WorkReport,
    no_progress,
)
from raymu.store.run import RunStore

if TYPE_CHECKING:
    from raymu.service.shard.worker import ShardWorker
    from raymu.training.own_process import UndisturbedTraining


class ShardFleet(Protocol):
    """Runs pieces of work on its workers, each piece on one of them."""

    @property
    def workers(self) -> int:
        """Number of pieces of work that run at once."""
        ...

    @property
    def running(self) -> Collection[int]:
        """The shards whose work has begun. Other work waits, and can still be cancelled without an effect."""
        ...

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        """Do a piece of work."""
        ...

    async def warm_up(self) -> None:
        """Start the workers, and wait until they answer."""
        ...

    async def locations(self) -> ShardLocations:
        """Say which actor has which shard in memory."""
        ...

    async def close(self) -> None:
        """Stop the workers."""
        ...


class LocalFleet:
    """One worker in this process, which runs one shard after the other: good for a debugger.

    If other threads are alive, as in a web service, stages are trained in a process of their own. Shards of a lane whose work
    waits at the same time are trained together.
    """

    workers = 1
    running: Collection[int] = ()
    """Always empty when other coroutines run, because a shard's work is never suspended."""

    def __init__(self, store: RunStore) -> None:
        """Prepare for the work of a run, without PyTorch if the run names no code and no weights of the user's.

        Importing it takes longer than a request needs until it is accepted and its shards are rewound.

        Raises:
            RaymuError: What cannot be built is refused, before a request waits for it.
        """
        self._store = store
        self._made: tuple[ShardWorker, UndisturbedTraining] | None = None
        width = store.config.cluster.shards_per_lane
        self._lanes = LaneQueue(width, alone=self._run_alone, together=self._run_lane) if width > 1 else None
        if store.manifest.base or any(demand.setting in CODE for demand in demands_of(store.config)):
            self._worker()

    def _worker(self) -> "ShardWorker":
        """Return the worker, which is made when it is first needed."""
        if self._made is None:
            with imports_uncollected():
                from raymu.service.shard.worker import ShardWorker
                from raymu.training.own_process import UndisturbedTraining
            training = UndisturbedTraining()
            self._made = ShardWorker(self._store, training), training
        return self._made[0]

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        return await (self._run_alone if self._lanes is None else self._lanes.run)(work, progress)

    async def _run_lane(self, _shard: int, take: Take) -> None:
        from raymu.service.shard.lane_worker import LaneWorker
        from raymu.training.lane_stages import LaneStages
        from raymu.training.own_process import has_other_threads

        entries = take()
        if len(entries) == 1 or has_other_threads():
            return
        worker = LaneWorker(self._store, LaneStages(has_other_threads))
        with closing(worker.run([entry.work for entry in entries])) as messages:
            await follow_lane(entries, next_of(messages))

    async def _run_alone(self, work: Work, progress: Progress) -> WorkReport:
        with closing(self._worker().run(work)) as reports:
            for report in reports:
                if not isinstance(report, StageProgress):
                    return report
                progress(report)
        raise AssertionError("a worker ends with its report")

    async def warm_up(self) -> None:
        """Make the worker, which is this process."""
        self._worker()

    async def locations(self) -> ShardLocations:
        """Return nothing: no actor has a shard in memory."""
        return {}

    async def close(self) -> None:
        """End the process that trained beside other threads, if there was one."""
        if self._made is not None:
            self._made[1].close()


class ProgressFleet:
    """Adds the fleet's load to all progress, and reports a patch, which has no stages, as one stage."""

    def __init__(self, fleet: ShardFleet, observe: Progress = no_progress) -> None:
        """Wrap a fleet. observe: called with the progress of the work of all callers"""
        self._fleet, self._observe = fleet, observe
        self._unfinished: list[Work] = []  # in order of arrival, which is the order in which workers begin it
        self._done = 0

    @property
    def workers(self) -> int:
        return self._fleet.workers

    @property
    def running(self) -> Collection[int]:
        return self._fleet.running

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        if not self._unfinished:
            self._done = 0
        self._unfinished.append(work)
        try:
            await asyncio.sleep(0)  # counts all work that arrives together before any of it begins
            report = await self._fleet.run(work, partial(self._report, progress))
            if isinstance(report, RepairReport) and report.remedy is not Remedy.RETRAIN:
                self._report(progress, _as_one_stage(report))
            self._done += 1
            return report
        finally:
            self._unfinished.remove(work)

    async def warm_up(self) -> None:
        await self._fleet.warm_up()

    async def locations(self) -> ShardLocations:
        return await self._fleet.locations()

    async def close(self) -> None:
        await self._fleet.close()

    def _report(self, progress: Progress, stage: StageProgress) -> None:
        stage = replace(stage, load=self._load)
        self._observe(stage)
        progress(stage)

    @property
    def _load(self) -> FleetLoad:
        running = tuple(work.shard for work in self._unfinished[: self.workers])
        return FleetLoad(running=running, waiting=len(self._unfinished) - len(running), done=self._done)


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
