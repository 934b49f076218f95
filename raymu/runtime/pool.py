"""The shard actors of a fleet: started as they are needed, handed out in turn, ended where nobody needs them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.errors import CoordinatorLost
from raymu.runtime.reservation import Reservation
from raymu.service.shard import ShardWorker

_NOWHERE = -1
"""Instead of a shard: of an actor that has not worked yet."""
PATIENCE_S = 20.0
"""How long a warm-up waits for one more actor where some are up: a node may be lost, or others are there first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where an actor is. gpus: Ray's numbers of them on that node"""

    node_id: str
    gpus: tuple[str, ...]
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """An actor that has a shard's checkpoints in memory."""

    shard: int
    site: Site
    is_at_work: bool


class ActorPool:
    """As many actors as the reservation has room for, at most. One that is lost makes room for another.

    One that was started and finds no room, since a node is lost or others are there first, is not waited for where
    another one comes free.
    """

    def __init__(self, start: Callable[[Mapping[str, Any]], Any], reservation: Reservation, *, idle_s: float) -> None:
        """start: takes an actor's options. idle_s: how long an actor stays without work; it holds what others wait for"""
        self._start, self._reservation, self._idle_s = start, reservation, idle_s
        self._idle: dict[Any, int] = {}  # actor -> the shard that it was last at
        self._lent: dict[Any, int] = {}  # actor -> the shard that it is at
        self._starting: dict[Any, asyncio.Task[None]] = {}
        self._sites: dict[Any, Site] = {}
        self._turns: deque[asyncio.Future[Any]] = deque()  # of those who wait, in order of arrival
        self._is_warming, self._is_closed = False, False
        self._retirements: dict[Any, asyncio.TimerHandle] = {}
        self._patience: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def lent(self, shard: int) -> AsyncIterator[Any]:
        """An actor: rather the one that holds this shard's checkpoints.

        It is taken back after what its own code raised; after anything else it is ended, lest it work on unattended.
        Raises RayError where a new one did not start, CoordinatorLost once the pool is closed.
        """
        actor = await self._take(shard)
        self._lent[actor] = shard
        try:
            yield actor
        except RayTaskError:
            self._put(actor, shard)
            raise
        except BaseException:
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
        while self._turns:
            self._turns.popleft().set_exception(_closed())
        self._balance()

    def holders(self) -> Iterator[Holder]:
        """The actors that have a shard in memory."""
        for actors, is_at_work in ((self._idle, False), (self._lent, True)):
            for actor, shard in actors.items():
                if shard != _NOWHERE:
                    yield Holder(shard=shard, site=self._sites[actor], is_at_work=is_at_work)

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
            turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            self._balance()
            return await turn
        actor = next((one for one, at in self._idle.items() if at == shard), next(iter(self._idle)))
        self._lent[actor] = self._idle.pop(actor)
        self._balance()
        return actor

    def _put(self, actor: Any, shard: int) -> None:
        self._lent.pop(actor, None)
        if self._is_closed:
            self._end(actor)
        elif self._turns:
            self._lent[actor] = shard
            self._turns.popleft().set_result(actor)
        else:
            self._idle[actor] = shard
        self._balance()

    def _begin(self) -> None:
        actor = self._start(self._reservation.options())
        self._starting[actor] = asyncio.ensure_future(self._bring_up(actor))

    async def _bring_up(self, actor: Any) -> None:
        try:
            self._sites[actor] = await actor.__ray_call__.remote(_site_of)
        except RayError as error:
            self._end(actor)
            if self._turns:
                self._turns.popleft().set_exception(error)
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


def _site_of(worker: ShardWorker) -> Site:
    """Runs in the actor."""
    context = ray.get_runtime_context()
    gpus = tuple(context.get_accelerator_ids().get("GPU", ()))
    return Site(node_id=context.get_node_id(), gpus=gpus, device=worker.device_name)
