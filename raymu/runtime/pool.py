"""The shard actors of a fleet: started as they are needed, handed out in turn, ended where nobody needs them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

_NOWHERE = -1
"""Instead of a shard: of an actor that has not worked yet."""
PATIENCE_S = 20.0
"""How long a warm-up waits for one more actor where some are up: a node may be lost, or others are there first."""


class ActorPool:
    """As many actors as there is room for, at most. One that is lost makes room for another.

    One that was started and finds no room, since a node is lost or others are there first, is not waited for where
    another one comes free.
    """

    def __init__(self, start: Callable[[], Any], *, room: int, idle_s: float) -> None:
        """idle_s: how long actors stay without work; they hold CPUs that other runs wait for"""
        self._start, self._room, self._idle_s = start, room, idle_s
        self._idle: dict[Any, int] = {}  # actor -> the shard that it was last at
        self._lent: set[Any] = set()
        self._starting: dict[Any, asyncio.Task[None]] = {}
        self._turns: deque[asyncio.Future[Any]] = deque()  # of those who wait, in order of arrival
        self._is_warming = False
        self._retirement: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def lent(self, shard: int) -> AsyncIterator[Any]:
        """An actor: rather the one that holds this shard's checkpoints. Raises RayError where a new one did not start.

        It is taken back after what its own code raised; after anything else it is ended, lest it work on unattended.
        """
        actor = await self._take(shard)
        try:
            yield actor
        except RayTaskError:
            self._put(actor, shard)
            raise
        except BaseException:
            self._lent.discard(actor)
            ray.kill(actor)
            self._balance()
            raise
        self._put(actor, shard)

    async def warm_up(self, count: int) -> None:
        """Start actors, and wait until they answer; for those that find no room, no longer than patience lasts."""
        self._is_warming = True
        try:
            for _ in range(min(count, self._room) - self._alive):
                self._begin()
            while self._starting:
                starting = self._starting.values()
                up, _ = await asyncio.wait(starting, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
                if not up and (self._idle or self._lent):
                    return
        finally:
            self._is_warming = False
            self._balance()

    def retire(self) -> None:
        """End all actors that are not at work."""
        for actor in (*self._idle, *self._starting):
            ray.kill(actor)
        self._idle.clear()

    @property
    def _alive(self) -> int:
        return len(self._idle) + len(self._lent) + len(self._starting)

    async def _take(self, shard: int) -> Any:
        if not self._idle:
            turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            self._balance()
            return await turn
        actor = next((one for one, at in self._idle.items() if at == shard), next(iter(self._idle)))
        del self._idle[actor]
        self._lent.add(actor)
        self._balance()
        return actor

    def _put(self, actor: Any, shard: int) -> None:
        self._lent.discard(actor)
        if self._turns:
            self._lent.add(actor)
            self._turns.popleft().set_result(actor)
        else:
            self._idle[actor] = shard
        self._balance()

    def _begin(self) -> None:
        actor = self._start()
        self._starting[actor] = asyncio.ensure_future(self._bring_up(actor))

    async def _bring_up(self, actor: Any) -> None:
        try:
            await actor.__ray_ready__.remote()
        except RayError as error:
            del self._starting[actor]
            if self._turns:
                self._turns.popleft().set_exception(error)
            self._balance()
        else:
            del self._starting[actor]
            self._put(actor, _NOWHERE)

    def _balance(self) -> None:
        """Start actors for those who wait, and have those retired that nobody needs for a while."""
        while len(self._starting) < len(self._turns) and self._alive < self._room:
            self._begin()
        if self._retirement:
            self._retirement.cancel()
            self._retirement = None
        if not (self._lent or self._turns or self._is_warming):
            self._retirement = asyncio.get_running_loop().call_later(self._idle_s, self.retire)
