"""Looking on: whoever watches a run is told what happens, and a fleet keeps account of its work."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Protocol

from raymu.core.board import RevocationBoard
from raymu.core.events import Event
from raymu.core.receipt import ReceiptBook
from raymu.core.records import Remedy, RepairReport
from raymu.service.fleet import ShardFleet
from raymu.service.work import FleetLoad, Progress, StageTrained, Work, WorkReport


class Observer(Protocol):
    """Only looks: it changes nothing, waits for nothing and raises nothing."""

    def opened(self, board: RevocationBoard, receipts: ReceiptBook) -> None:
        """A coordinator has taken the run over. Both are its own, as they stand now and at every event to come."""

    def happened(self, event: Event) -> None:
        """An event that the board and the receipts have taken in."""

    def closed(self) -> None:
        """The coordinator has left the run: nothing more happens here."""


class ObservedFleet:
    """A fleet whose progress tells how much is at work, waits and is done; patches, which have no stages, are told too."""

    def __init__(self, fleet: ShardFleet, tell: Callable[[StageTrained], None] = lambda _stage: None) -> None:
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

    async def close(self) -> None:
        await self._fleet.close()

    def _told(self, progress: Progress, stage: StageTrained) -> None:
        stage = replace(stage, load=self._load)
        self._tell(stage)
        progress(stage)

    @property
    def _load(self) -> FleetLoad:
        at_work = tuple(work.shard for work in self._given[: self.workers])
        return FleetLoad(at_work=at_work, waiting=len(self._given) - len(at_work), done=self._done)


def _as_one_stage(report: RepairReport) -> StageTrained:
    return StageTrained(
        shard=report.shard,
        stage=report.lineage.slices - 1,
        first=report.lineage.slices - 1,
        stages=1,
        remedy=report.remedy,
        passes=report.passes,
        seconds=report.seconds,
    )
