"""Work of several shards of a lane at once: a queue that puts together what waits, for `lane_worker` to do.

A lane only saves time. Each shard has work, progress and a report of its own, with the bits that it has alone. So whatever
fails in a lane ends it, and its shards are worked on one by one: then each has its own error, or its own report.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from raymu.core.partition import lane_of
from raymu.service.shard.messages import Progress, StageProgress, Work, WorkReport

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class LaneEntry:
    """A piece of work that waits for a worker."""

    work: Work
    progress: Progress
    report: "asyncio.Future[WorkReport | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Its report; None if it has to be done alone."""

    def end(self, report: WorkReport | None) -> None:
        """Tell the report to whoever waits for it."""
        if not self.report.done():
            self.report.set_result(report)


Take: TypeAlias = Callable[[], list[LaneEntry]]
"""Takes everything that waits in a lane."""


class LaneQueue:
    """Puts together the pieces of work of a lane that wait at the same time."""

    def __init__(
        self,
        width: int,
        *,
        alone: Callable[[Work, Progress], Awaitable[WorkReport]],
        together: Callable[[int, Take], Awaitable[None]],
    ) -> None:
        """Begin with nothing.

        Args:
            width: Places of a lane.
            alone: Does one piece of work.
            together: Finds a worker for a shard, takes what waits in its lane, and does it. What it leaves undone is done
                alone.
        """
        self._width, self._alone, self._together = width, alone, together
        self._waiting: dict[int, list[LaneEntry]] = {}

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        """Do a piece of work, together with others of its lane if there are any."""
        lane, entry = lane_of(work.shard, self._width), LaneEntry(work=work, progress=progress)
        waiting = self._waiting.setdefault(lane, [])
        waiting.append(entry)
        if waiting[0] is entry:
            await self._lead(lane, entry)
        try:
            report = await entry.report
        except asyncio.CancelledError:
            if entry in self._waiting.get(lane, ()):
                self._waiting[lane].remove(entry)
            raise
        return report or await self._alone(work, progress)

    async def _lead(self, lane: int, entry: LaneEntry) -> None:
        """Do what waits in a lane."""
        taken: list[LaneEntry] = []

        def take() -> list[LaneEntry]:
            taken.extend(self._waiting.pop(lane, []))
            return taken

        try:
            await asyncio.sleep(0)  # what arrives together begins together
            await self._together(entry.work.shard, take)
        except Exception as error:  # alone, each piece of work has its own error
            _log.warning("raymu: a lane ended with %s; its shards go on one by one", type(error).__name__)
        finally:
            for each in taken or self._waiting.pop(lane, []):
                each.end(None)


async def follow_lane(
    entries: Sequence[LaneEntry], messages: Callable[[], Awaitable[StageProgress | WorkReport | None]]
) -> None:
    """Hand the messages of a lane to those that wait for its shards. messages: returns the next one, None at the end"""
    by_shard = {entry.work.shard: entry for entry in entries}
    while (message := await messages()) is not None:
        if isinstance(message, StageProgress):
            by_shard[message.shard].progress(message)
        else:
            by_shard[message.lineage.shard].end(message)


def next_of(
    messages: Generator[StageProgress | WorkReport],
) -> Callable[[], Awaitable[StageProgress | WorkReport | None]]:
    """Return what awaits the next message of a generator in this process; None at its end."""

    async def following() -> StageProgress | WorkReport | None:
        return next(messages, None)

    return following
