"""The fleet double of the system tests: a local fleet that follows a script."""

import asyncio
from collections.abc import Callable, Collection, Mapping

from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import Progress, RepairTask, StageProgress, Work, WorkReport
from raymu.store.run import RunStore


class ScriptedFleet(LocalFleet):
    """Works in this process like a local fleet, but lets a test watch, hold or interrupt the work.

    Args:
        store: the run's store
        before: called with each repair before its work begins. It may return another task to carry out instead, or raise
        after: called with each repair once its work is done, before its report is returned. It may raise
        fail_after: number of stages after which the first repair fails with a ConnectionError, 0 before any
        hold: shards whose repairs wait until the test opens their gate
        failures: shard -> error that it raises instead of doing any work, training included
    """

    def __init__(
        self,
        store: RunStore,
        *,
        before: Callable[[RepairTask], RepairTask | None] = lambda _task: None,
        after: Callable[[RepairTask], None] = lambda _task: None,
        fail_after: int | None = None,
        hold: Collection[int] = (),
        failures: Mapping[int, Exception] | None = None,
    ) -> None:
        super().__init__(store)
        self._before, self._after = before, after
        self._stages_left = fail_after
        self._failures = failures or {}
        self.gates = {shard: asyncio.Event() for shard in hold}
        self.repairs: list[RepairTask] = []
        """Every repair that was begun."""
        self.begun: list[int] = []
        """The shard of every piece of work that was begun."""
        self.done: list[int] = []
        """The shard of every piece of work that was done."""

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        self.begun.append(work.shard)
        if failure := self._failures.get(work.shard):
            raise failure
        report = await (self._repair(work, progress) if isinstance(work, RepairTask) else super().run(work, progress))
        self.done.append(work.shard)
        return report

    async def _repair(self, task: RepairTask, progress: Progress) -> WorkReport:
        self.repairs.append(task)
        if task.shard in self.gates:
            await self.gates[task.shard].wait()
        task = self._before(task) or task
        report = await super().run(task, self._failing(progress) if self._stages_left is not None else progress)
        self._after(task)
        return report

    def _failing(self, progress: Progress) -> Progress:
        """Count down the stages that are left, and fail at the last one."""
        self._fail_if_due()

        def count(stage: StageProgress) -> None:
            progress(stage)
            if self._stages_left is not None:
                self._stages_left -= 1
                self._fail_if_due()

        return count

    def _fail_if_due(self) -> None:
        if self._stages_left == 0:
            self._stages_left = None
            raise ConnectionError("the worker is gone")
