"""The process of a coordinator: it gets calls, works, meets faults, and ends, cleanly or not."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql

from raymu.service.coordinator.coordinator import Coordinator
from raymu.store.files.run_files import RunFiles
from raymu.store.run import RunStore
from tests.support.faults import FaultyDisk
from tests.system.model.steered_fleet import SteeredFleet

Reply = TypeVar("Reply")


class Killed(BaseException):
    """The process is dead from here on: each later write raises this again."""


class Process:
    """One coordinator with its fleet, on a disk that may fail at any step."""

    def __init__(self, location: Path, disk: FaultyDisk) -> None:
        """Open the run. Raises RaymuError, OSError, Killed; the process is gone then."""
        self._location, self.disk = location, disk
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, _context: None)  # errors of abandoned tasks
        self._connections: list[Any] = []
        try:
            with self._acting():
                store = RunStore(str(location), RunFiles(str(location), disk=disk))
                self.fleet = SteeredFleet(store)
                self.coordinator = Coordinator(store, self.fleet)
        except BaseException:
            self.abandon()
            raise

    @property
    def is_dead(self) -> bool:
        return self.disk.has_struck and self.disk.strike is die

    def start(self, coroutine: Coroutine[Any, Any, Reply]) -> "asyncio.Task[Reply]":
        """Run a call until it waits for a worker."""
        task = self._loop.create_task(coroutine)
        self.settle_down()
        return task

    def steer(self, action: Callable[[SteeredFleet], None]) -> None:
        """Let workers work, and the coordinator process their reports."""
        with self._acting():
            action(self.fleet)
        self.settle_down()

    def settle_down(self) -> None:
        with self._acting():
            self._loop.run_until_complete(_come_to_rest())

    def close(self) -> None:
        """Leave the run in an orderly way. Raises RaymuError, OSError, Killed."""
        self._stop()
        try:
            with self._acting():
                self._loop.run_until_complete(self.coordinator.close())
        finally:
            self.abandon()

    def abandon(self, *, is_last: bool = True) -> None:
        """What the operating system does with a process that was killed. is_last: no other has the journal open

        SQLite would tidy up on closing, which a killed process does not: its files are put back as they were.
        """
        self.disk.arm(1, die, is_lasting=True)
        self._stop()
        self._loop.close()
        files = {path: path.read_bytes() for path in self._location.glob("journal.sqlite*")} if is_last else {}
        for connection in self._connections:
            connection.close()
        for path, payload in files.items():
            if not path.exists() or path.read_bytes() != payload:
                path.write_bytes(payload)

    def _stop(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with self._acting():
            self._loop.run_until_complete(_come_to_rest())

    @contextmanager
    def _acting(self) -> Iterator[None]:
        """Attribute what is written in this context to this process."""

        def connect(connection: Any, _record: Any) -> None:
            self._connections.append(connection)

        sql.event.listen(sql.Engine, "connect", connect)
        try:
            with self.disk.counting_commits():
                yield
        finally:
            sql.event.remove(sql.Engine, "connect", connect)


def die() -> None:
    raise Killed


async def _come_to_rest() -> None:
    """Wait until every task waits for a worker."""
    for _ in range(20 + 5 * len(asyncio.all_tasks())):
        await asyncio.sleep(0)
