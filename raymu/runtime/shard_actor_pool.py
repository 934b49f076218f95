"""The shard actors of a fleet: started on demand, handed out in order of arrival, ended after a time without work."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util import remove_placement_group

from raymu.core.trust import EVERYTHING, Trust
from raymu.errors import CoordinatorLost, RaymuError, TrainingFailed
from raymu.runtime.placement_group import ActorSpace, PlacementGroupReservation
from raymu.runtime.shard_actor import ActorLocation

START_TIMEOUT_S = 20.0
"""How long to wait for one more actor to start: a node may be lost, or other programs may use its room."""

TELL_AFTER_S, TELL_EVERY_S = 15.0, 120.0
"""When to say that no actor starts, and how often to repeat it. A start takes some seconds by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedShard:
    """A shard whose checkpoints an actor has in memory."""

    shard: int
    location: ActorLocation
    is_running: bool
    """Whether the actor works on the shard now."""


class _Phase(Enum):
    STARTING = auto()
    IDLE = auto()
    BUSY = auto()


@dataclass(eq=False, kw_only=True, slots=True)
class _Member:
    """An actor of the pool, and its state."""

    phase: _Phase = _Phase.STARTING
    actor: Any = None
    """Ray's handle. None until there is room reserved for the actor."""
    space: ActorSpace | None = None
    shard: int | None = None
    """The shard that the actor works on, or worked on last."""
    location: ActorLocation | None = None
    start: "asyncio.Task[None] | None" = None
    retirement: asyncio.TimerHandle | None = None


class ShardActorPool:
    """At most as many actors as the reservation has room for. One that is lost makes room for another.

    `ray.util.ActorPool` does not fit: its actors are started beforehand and never replaced, it blocks the event loop, and
    it hands out any free actor. Here the actor that has a shard's checkpoints in memory is preferred for that shard.
    While one actor waits for room to start, a waiter gets any other actor that becomes free.
    """

    def __init__(
        self,
        actor: Any,
        location: str,
        reservation: PlacementGroupReservation,
        *,
        idle_s: float,
        trust: Trust = EVERYTHING,
        on_wait: Callable[[datetime], Awaitable[None]] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            actor: The actor class, wrapped by Ray.
            location: The run that each actor opens.
            reservation: Where actors start, and how many fit.
            idle_s: How long an actor stays without work, in seconds. Other programs may wait for its room.
            trust: The demands of the run that the actors follow.
            on_wait: Called, rarely, as long as actors are to start and none does, with the time since when.
        """
        self._actor, self._location, self._reservation, self._idle_s = actor, location, reservation, idle_s
        self._trust, self._on_wait = trust, on_wait
        self._members: list[_Member] = []  # the one that has been idle longest comes first among those that are idle
        self._waiters: deque[asyncio.Future[_Member]] = deque()  # in order of arrival
        self._is_warming, self._is_closed = False, False
        self._start_timeout: asyncio.Task[None] | None = None
        self._recount: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    @property
    def capacity(self) -> int:
        """Actors that there is room for. If the count is old, a new one begins in the background."""
        self._refresh_capacity()
        return self._room

    @asynccontextmanager
    async def acquire(self, shard: int) -> AsyncIterator[Any]:
        """Lend an actor, preferably the one that has this shard's checkpoints in memory.

        The actor returns to the pool after a refusal by raymu's own code. After any other error it is ended, so that it
        does not work on unattended.

        Raises:
            RayError: A new actor did not start.
            CoordinatorLost: The pool is closed.
        """
        member = await self._acquire(shard)
        member.shard = shard
        try:
            yield member.actor
        except BaseException as error:
            if _is_refusal(error):
                self._release(member)
            else:
                self._kill(member)
                self._reconcile()
            raise
        self._release(member)

    def expect_work(self) -> None:
        """Start an actor if there is none, and wait for nothing: work is about to come. Without work it ends as others do."""
        if not self._members and self._room:
            self._start_one()
            self._reconcile()

    async def warm_up(self, count: int) -> None:
        """Start actors and wait until they answer. Stop waiting at START_TIMEOUT_S if at least one answers."""
        self._is_warming = True
        try:
            if self._reservation.is_stale:
                await asyncio.to_thread(self._reservation.recount)
            for _ in range(min(count, self._room) - len(self._members)):
                self._start_one()
            self._reconcile()
            while starts := [member.start for member in self._in(_Phase.STARTING) if member.start]:
                done, _ = await asyncio.wait(starts, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
                if not done and self._has(_Phase.IDLE, _Phase.BUSY):
                    return
        finally:
            self._is_warming = False
            self._reconcile()

    def close(self) -> None:
        """End the actors that are not busy, and each other one when it is released. Waiters get CoordinatorLost."""
        self._is_closed = True
        for member in [*self._in(_Phase.IDLE), *self._in(_Phase.STARTING)]:
            self._kill(member)
        while waiter := self._next_waiter():
            waiter.set_exception(_closed())
        self._reconcile()

    def loaded_shards(self) -> Iterator[LoadedShard]:
        """Yield the shards that actors have in memory."""
        for member in self._members:
            if member.shard is not None and member.location is not None:
                is_running = member.phase is _Phase.BUSY
                yield LoadedShard(shard=member.shard, location=member.location, is_running=is_running)

    @property
    def _room(self) -> int:
        return 0 if self._is_closed else self._reservation.capacity

    def _in(self, phase: _Phase) -> list[_Member]:
        return [member for member in self._members if member.phase is phase]

    def _has(self, *phases: _Phase) -> bool:
        return any(member.phase in phases for member in self._members)

    def _refresh_capacity(self) -> None:
        if self._reservation.is_stale and not self._is_closed and (self._recount is None or self._recount.done()):
            self._recount = asyncio.ensure_future(self._count_capacity())

    async def _count_capacity(self) -> None:
        await asyncio.to_thread(self._reservation.recount)
        self._reconcile()

    async def _acquire(self, shard: int) -> _Member:
        if self._is_closed:
            raise _closed()
        self._refresh_capacity()
        idle = self._in(_Phase.IDLE)
        if not idle:
            return await self._wait()
        member = next((member for member in idle if member.shard == shard), idle[0])
        member.phase = _Phase.BUSY
        self._reconcile()
        return member

    async def _wait(self) -> _Member:
        waiter: asyncio.Future[_Member] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._reconcile()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):
                    self._waiters.remove(waiter)
                self._reconcile()
            elif not waiter.exception():  # it was given an actor, and was cancelled before it could run
                self._release(waiter.result())
            raise

    def _next_waiter(self) -> "asyncio.Future[_Member] | None":
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():  # else it was cancelled, and has not removed itself yet
                return waiter
        return None

    def _release(self, member: _Member) -> None:
        self._refresh_capacity()
        if self._is_closed:
            self._kill(member)
        elif waiter := self._next_waiter():
            member.phase = _Phase.BUSY
            waiter.set_result(member)
        else:
            member.phase = _Phase.IDLE
            self._members.remove(member)
            self._members.append(member)
        self._reconcile()

    def _start_one(self) -> None:
        member = _Member()
        self._members.append(member)
        member.start = asyncio.ensure_future(self._start(member))

    async def _start(self, member: _Member) -> None:
        try:
            space = await asyncio.to_thread(self._reservation.reserve)
            if member not in self._members:  # it was ended in the meantime
                _remove_own_group(space)
                self._reconcile()
                return
            member.space = space
            member.actor = self._actor.options(**space.options).remote()
            self._reconcile()
            member.location = await member.actor.open.remote(self._location, self._trust)
        except Exception as error:  # of any kind: the waiter has to get it
            self._kill(member)
            if waiter := self._next_waiter():
                waiter.set_exception(error)
            self._reconcile()
        else:
            self._release(member)

    def _kill(self, member: _Member) -> None:
        if member not in self._members:
            return
        self._members.remove(member)
        if member.retirement:
            member.retirement.cancel()
        if member.actor is None:
            return  # its start notices
        ray.kill(member.actor)
        if member.space:
            _remove_own_group(member.space)
        if member.phase is _Phase.STARTING and member.start and member.start is not asyncio.current_task():
            member.start.cancel()

    def _reconcile(self) -> None:
        """Start actors for waiters, schedule the end of those without use, and release the room once no actor is left."""
        while len(self._in(_Phase.STARTING)) < len(self._waiters) and len(self._members) < self._room:
            self._start_one()
        for member in self._members:
            if self._is_needed(member):
                if member.retirement:
                    member.retirement.cancel()
                    member.retirement = None
            elif not member.retirement:
                member.retirement = asyncio.get_running_loop().call_later(self._idle_s, self._retire, member)
        is_waiting = bool(self._members) and not self._has(_Phase.IDLE, _Phase.BUSY)
        if self._waiting and not is_waiting:
            self._waiting.cancel()
            self._waiting = None
        elif is_waiting and not self._waiting and self._on_wait:
            self._waiting = asyncio.ensure_future(self._tell(self._on_wait))
        is_stuck = self._reservation.exists and bool(self._members) and not self._has(_Phase.IDLE, _Phase.BUSY)
        if self._start_timeout and not is_stuck:
            self._start_timeout.cancel()
            self._start_timeout = None
        elif is_stuck and not self._start_timeout:
            self._start_timeout = asyncio.ensure_future(self._on_start_timeout())
        if not self._members:
            self._reservation.release()

    def _is_needed(self, member: _Member) -> bool:
        if self._is_warming or member.phase is _Phase.BUSY:
            return True
        return member.phase is _Phase.STARTING and bool(self._waiters)

    def _retire(self, member: _Member) -> None:
        self._kill(member)
        self._reconcile()

    async def _tell(self, on_wait: Callable[[datetime], Awaitable[None]]) -> None:
        since, pause_s = datetime.now(UTC), TELL_AFTER_S
        while True:
            await asyncio.sleep(pause_s)
            with suppress(RayError):  # whoever waits for the actors gets the error
                await on_wait(since)
            pause_s = TELL_EVERY_S

    async def _on_start_timeout(self) -> None:
        """Start the actors anywhere if the reservation found no room, so that none of them could start."""
        await asyncio.sleep(START_TIMEOUT_S)
        is_ready = await asyncio.to_thread(self._reservation.is_ready)
        self._start_timeout = None
        if not is_ready:
            starting = self._in(_Phase.STARTING)
            for member in starting:
                self._kill(member)
            self._reservation.give_up()
            for _ in starting:
                self._start_one()
        self._reconcile()


def _remove_own_group(space: ActorSpace) -> None:
    if space.own_group is not None:
        remove_placement_group(space.own_group)


def _closed() -> CoordinatorLost:
    return CoordinatorLost("it has left the run")


def _is_refusal(error: BaseException) -> bool:
    """Whether raymu's own code refused the work.

    An error in a model or in foreign code may leave a GPU unusable: CUDA then fails as long as the process lives.
    """
    cause = error.cause if isinstance(error, RayTaskError) else None
    return isinstance(cause, RaymuError) and not isinstance(cause, TrainingFailed)
