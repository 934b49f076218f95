"""How a run comes to its first generation."""

import asyncio
import time

from raymu.core.events import RunTrained
from raymu.core.records import ShardLineage
from raymu.errors import RunInvalid, WorkerLost
from raymu.service.coordinator.calls import TrainingResult
from raymu.service.coordinator.executor import Executor
from raymu.service.coordinator.session import Session
from raymu.service.shard.fleet import ShardFleet
from raymu.service.shard.messages import Progress, TrainCommand, TrainReport, WorkReport


class Training:
    """The training of one coordinator's run. Shards that an earlier coordinator trained stay as they are."""

    def __init__(self, session: Session, fleet: ShardFleet, executor: Executor) -> None:
        self._session, self._fleet, self._execution = session, fleet, executor
        self._one_at_a_time = asyncio.Lock()

    @property
    def is_at_work(self) -> bool:
        return self._one_at_a_time.locked()

    async def finish(self, progress: Progress) -> None:
        """Finish a training that broke off. Calls that need it wait for the one that is at it."""
        async with self._one_at_a_time:
            if not self._execution.publisher.published:
                await self._train(progress)

    async def train(self, progress: Progress) -> TrainingResult:
        """Train every shard, side by side, and publish the first generation. Raises RunInvalid where that is done."""
        async with self._one_at_a_time:
            if self._execution.publisher.published:
                raise RunInvalid(
                    self._session.store.files.display_location,
                    "is trained already; name another directory to train anew",
                )
            return await self._train(progress)

    async def record(self, lineages: tuple[ShardLineage, ...]) -> None:
        """The shards are trained: publish their states. lineages: whose files are there"""
        await self._execution.record(
            RunTrained(at=self._session.clock(), lineages=lineages, workers=self._fleet.workers)
        )

    async def _train(self, progress: Progress) -> TrainingResult:
        started = time.perf_counter()
        async with self._session.turn():
            await self._session.require_current()
        trained = await self._train_shards(progress)
        lineages = tuple(report.lineage for report in trained)
        if self._execution.board.lineages:
            async with self._session.turn():
                await self._execution.execute(self._execution.board.pending_commands())
        else:
            await self.record(lineages)
        async with self._session.turn():
            await self._execution.garbage.collect()
        self._session.store.reports.delete(report.command_id for report in trained)
        seconds = time.perf_counter() - started
        await self._execution.measure()
        return TrainingResult(
            generation=1,
            samples=sum(lineage.samples for lineage in lineages),
            passes=sum(report.passes for report in trained),
            compute_seconds=sum(report.seconds for report in trained),
            seconds=seconds,
        )

    async def _train_shards(self, progress: Progress) -> list[TrainReport]:
        """Once one has failed no other begins. Those at work are waited for: later, nobody would wait for what they write.

        Where a worker was lost the others get on, and settling has less to finish.
        """
        tasks: dict[int, asyncio.Task[WorkReport]] = {}

        async def train(work: TrainCommand) -> WorkReport:
            try:
                return await self._fleet.run(work, progress)
            except WorkerLost:
                raise
            except Exception:
                for shard in tasks.keys() - {work.shard, *self._fleet.running}:
                    tasks[shard].cancel()
                raise

        for shard, table in enumerate(self._session.store.manifest.tables):
            tasks[shard] = asyncio.create_task(train(TrainCommand(shard=shard, table=table, term=self._session.term)))
        done = await asyncio.gather(*tasks.values(), return_exceptions=True)
        failures = [result for result in done if isinstance(result, BaseException)]
        if failures:  # the cause, rather than a shard that never began because of it
            raise min(failures, key=lambda failure: isinstance(failure, asyncio.CancelledError))
        return [report for report in done if isinstance(report, TrainReport)]
