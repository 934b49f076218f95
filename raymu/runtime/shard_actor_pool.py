"""The shard actors of a fleet: started as they are needed, handed out in turn, ended where nobody needs them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.errors import CoordinatorLost, RaymuError, TrainingFailed
from raymu.runtime.placement_group import PlacementGroupReservation
from raymu.runtime.shard_actor import ActorLocation

_NOWHERE = -1
"""Instead of a shard: of an actor that has not worked yet."""
PATIENCE_S = 20.0
"""How long a warm-up waits for one more actor where some are up: a node may be lost, or others are there first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedShard:
    """An actor that has a shard's checkpoints in memory."""

    shard: int
    site: ActorLocation
    is_at_work: bool


class ShardActorPool:
    """As many actors as the reservation has room for, at most. One that is lost makes room for another.

    One that was started and finds no room, since a node is lost or others are there first, is not waited for where
    another one comes free.
    """

    def __init__(self, actor: Any, location: str, reservation: PlacementGroupReservation, *, idle_s: float) -> None:
        """actor: the class of them, wrapped; location: of the run that each of them opens

        idle_s: how long an actor stays without work; it holds what others wait for
        """
        self._actor, self._location, self._reservation, self._idle_s = actor, location, reservation, idle_s
        self._idle: dict[Any, int] = {}  # actor -> the shard that it was last at
        self._lent: dict[Any, int] = {}  # actor -> the shard that it is at
        self._starting: dict[Any, asyncio.Task[None]] = {}
        self._sites: dict[Any, ActorLocation] = {}
        self._turns: deque[asyncio.Future[Any]] = deque()  # of those who wait, in order of arrival
        self._is_warming, self._is_closed = False, False
        self._retirements: dict[Any, asyncio.TimerHandle] = {}
        self._patience: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def lent(self, shard: int) -> AsyncIterator[Any]:
        """An actor: rather the one that holds this shard's checkpoints.

        It is taken back after a refusal of its own; after anything else it is ended, lest it work on unattended.
        Raises RayError where a new one did not start, CoordinatorLost once the pool is closed.
        """
        actor = await self._take(shard)
        self._lent[actor] = shard
        try:
            yield actor
        except BaseException as error:
            if _is_refusal(error):
                self._put(actor, shard)
            else:
                self._end(actor)
                self._balance()
            raise
        self._put(actor, shard)

    async def warm_up(self, count: int) -> None:
        """Start actors, and wait until they answer; for those that find no room, no longer than patience lasts."""
        self._is_warming = True
        try:
            for _ in range(min(count, self._room) - self._alive):
                self._begin()
            self._balance()
            while self._starting:
                starting = self._starting.values()
                up, _ = await asyncio.wait(starting, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
                if not up and (self._idle or self._lent):
                    return
        finally:
            self._is_warming = False
            self._balance()

    def close(self) -> None:
        """End the actors that are not at work, and each of the others as it comes back; who waits for one gets none."""
        self._is_closed = True
        for actor in (*self._idle, *self._starting):
            self._end(actor)
        while turn := self._next_turn():
            turn.set_exception(_closed())
        self._balance()

    def holders(self) -> Iterator[LoadedShard]:
        """The actors that have a shard in memory."""
        for actors, is_at_work in ((self._idle, False), (self._lent, True)):
            for actor, shard in actors.items():
                if shard != _NOWHERE:
                    yield LoadedShard(shard=shard, site=self._sites[actor], is_at_work=is_at_work)

    @property
    def _alive(self) -> int:
        return len(self._idle) + len(self._lent) + len(self._starting)

    @property
    def _room(self) -> int:
        return 0 if self._is_closed else self._reservation.room

    async def _take(self, shard: int) -> Any:
        if self._is_closed:
            raise _closed()
        if not self._idle:
            return await self._wait()
        actor = next((one for one, at in self._idle.items() if at == shard), next(iter(self._idle)))
        self._lent[actor] = self._idle.pop(actor)
        self._balance()
        return actor

    async def _wait(self) -> Any:
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        self._balance()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    self._turns.remove(turn)
                self._balance()
            elif not turn.exception():  # it was given one, and does not know yet
                self._put(turn.result(), self._lent[turn.result()])
            raise

    def _next_turn(self) -> asyncio.Future[Any] | None:
        """None where nobody waits; a turn that was cancelled may be there still."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                return turn
        return None

    def _put(self, actor: Any, shard: int) -> None:
        self._lent.pop(actor, None)
        if self._is_closed:
            self._end(actor)
        elif turn := self._next_turn():
            self._lent[actor] = shard
            turn.set_result(actor)
        else:
            self._idle[actor] = shard
        self._balance()

    def _begin(self) -> None:
        actor = self._actor.options(**self._reservation.options()).remote()
        self._starting[actor] = asyncio.ensure_future(self._bring_up(actor))

    async def _bring_up(self, actor: Any) -> None:
        try:
            self._sites[actor] = await actor.open.remote(self._location)
        except RayError as error:
            self._end(actor)
            if turn := self._next_turn():
                turn.set_exception(error)
            self._balance()
        else:
            del self._starting[actor]
            self._put(actor, _NOWHERE)

    def _end(self, actor: Any) -> None:
        ray.kill(actor)
        for actors in (self._idle, self._lent, self._sites):
            actors.pop(actor, None)
        if timer := self._retirements.pop(actor, None):
            timer.cancel()
        start = self._starting.pop(actor, None)
        if start and start is not asyncio.current_task():
            start.cancel()

    def _balance(self) -> None:
        """Start actors for those who wait, and have those retired that nobody needs for a while."""
        while len(self._starting) < len(self._turns) and self._alive < self._room:
            self._begin()
        needless = set() if self._is_warming else {*self._idle, *(() if self._turns else self._starting)}
        for actor in self._retirements.keys() - needless:
            self._retirements.pop(actor).cancel()
        loop = asyncio.get_running_loop()
        for actor in needless - self._retirements.keys():
            self._retirements[actor] = loop.call_later(self._idle_s, self._retire, actor)
        is_stuck = self._reservation.is_held and self._starting and not (self._idle or self._lent)
        if self._patience and not is_stuck:
            self._patience.cancel()
            self._patience = None
        elif is_stuck and not self._patience:
            self._patience = loop.call_later(PATIENCE_S, self._lose_patience)
        if not self._alive:
            self._reservation.release()

    def _retire(self, actor: Any) -> None:
        self._end(actor)
        self._balance()

    def _lose_patience(self) -> None:
        """Not one actor is up: where the reservation found no room, they are started anew, wherever there is any."""
        self._patience = None
        if not self._reservation.is_placed:
            count = len(self._starting)
            for actor in tuple(self._starting):
                self._end(actor)
            self._reservation.give_up()
            for _ in range(count):
                self._begin()
        self._balance()


def _closed() -> CoordinatorLost:
    return CoordinatorLost("it has left the run")


def _is_refusal(error: BaseException) -> bool:
    """Whether raymu's own code refused some work. What failed in a model's or foreign code may leave a GPU unusable:

    CUDA then answers with errors for as long as the process lives.
    """
    cause = error.cause if isinstance(error, RayTaskError) else None
    return isinstance(cause, RaymuError) and not isinstance(cause, TrainingFailed)
