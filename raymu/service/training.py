"""How a run comes to its first generation."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from raymu.core.events import RunTrained
from raymu.core.records import ShardLineage
from raymu.service.execution import Execution
from raymu.service.fleet import ShardFleet
from raymu.service.outcomes import TrainingReport
from raymu.service.work import Progress, ShardTrained, TrainShard, WorkReport
from raymu.store.journal import Journal
from raymu.store.run import RunStore


class Training:
    """Of one coordinator. Shards that an earlier one has trained stay so."""

    def __init__(
        self,
        store: RunStore,
        journal: Journal,
        fleet: ShardFleet,
        execution: Execution,
        *,
        epoch: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._journal, self._fleet, self._execution = store, journal, fleet, execution
        self._epoch, self._clock = epoch, clock
        self._one_at_a_time = asyncio.Lock()

    async def finish(self, progress: Progress) -> None:
        """Finish a training that broke off. Calls that need it wait for the one that is at it."""
        async with self._one_at_a_time:
            if not self._execution.publisher.published:
                await self.train(progress)

    async def train(self, progress: Progress) -> TrainingReport:
        """Train every shard, side by side, and publish the first generation."""
        started = time.perf_counter()
        self._journal.require_current()
        work = [
            TrainShard(shard=shard, table=table, epoch=self._epoch)
            for shard, table in enumerate(self._store.manifest.tables)
        ]
        # Until the last one has ended: a shard that trains on after a refusal would write what nobody waits for.
        done = await asyncio.gather(*(self._fleet.run(one, progress) for one in work), return_exceptions=True)
        reports = [_reported(one) for one in done]
        trained = [report for report in reports if isinstance(report, ShardTrained)]
        lineages = tuple(report.lineage for report in trained)
        if self._execution.board.lineages:
            self._execution.carry_out(self._execution.board.outstanding())
        else:
            self.record(lineages)
        self._execution.sweeper.sweep()
        self._store.reports.drop(report.command_id for report in trained)
        seconds = time.perf_counter() - started
        await self._execution.measure()
        return TrainingReport(
            generation=1,
            samples=sum(lineage.samples for lineage in lineages),
            passes=sum(report.passes for report in trained),
            compute_seconds=sum(report.seconds for report in trained),
            seconds=seconds,
        )

    def record(self, lineages: tuple[ShardLineage, ...]) -> None:
        """The shards are trained: publish their states. lineages: whose files are there"""
        self._execution.record(RunTrained(at=self._clock(), lineages=lineages, workers=self._fleet.workers))


def _reported(done: WorkReport | BaseException) -> WorkReport:
    if isinstance(done, BaseException):
        raise done
    return done
