"""A fleet whose one worker is a process of its own, for a process that answers calls meanwhile.

A patch of a small model holds the interpreter's lock for most of its time, so that beside it in one process every call waits.
The worker's process also gives way to others when the cores are busy: calls are answered first.
"""

import os
import signal
import sys
import weakref
from collections.abc import Collection
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import Any

from raymu.core.trust import Trust
from raymu.errors import RaymuError, TrainingFailed, WorkerLost
from raymu.imports import imports_uncollected, own_process
from raymu.service.event_log import log_to_stderr
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import Progress, ShardLocations, StageProgress, Work, WorkReport
from raymu.store.run import RunStore
from raymu.text import one_line
from raymu.training.child_process import ChildProcess

_NICENESS = 5
"""How far the process gives way to others: to a third of the share that it would have."""


class ProcessFleet:
    """Runs one shard after the other in a process of its own, which the first work starts."""

    workers = 1
    running: Collection[int] = ()
    """Always empty when other coroutines run, because a shard's work is never suspended."""

    def __init__(self, store: RunStore) -> None:
        """Name the run.

        Raises:
            RaymuError: What cannot be built is refused, before a request waits for it.
        """
        LocalFleet(store)  # builds the model here, if the run names code or weights of the user's
        self._store = store
        self._process: _WorkerProcess | None = None

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        """Do a piece of work. Raises what fails there, and WorkerLost if the process ends."""
        process = self._started()
        is_sound = False
        try:
            report = process.run(work, progress)
            is_sound = True
        except RaymuError as error:
            is_sound = not isinstance(error, WorkerLost)
            raise
        finally:
            if not is_sound:
                await self.close()
        return report

    async def warm_up(self) -> None:
        """Start the process. Raises RaymuError if the run's model cannot be built there."""
        self._started()

    async def locations(self) -> ShardLocations:
        """Return nothing: no actor has a shard in memory."""
        return {}

    async def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _started(self) -> "_WorkerProcess":
        if self._process is not None and not self._process.is_alive:
            self._process.close()
            self._process = None
        if self._process is None:
            process = _WorkerProcess(self._store.location, self._store.trust)
            weakref.finalize(self, process.close)
            self._process = process
        return self._process


class _WorkerProcess(ChildProcess):
    """The process that works on the shards of a run."""

    def __init__(self, location: str, trust: Trust) -> None:
        super().__init__("raymu.service.shard.process_fleet")
        with suppress(OSError):  # the first work says that the process has ended
            self.send((location, trust))

    def run(self, work: Work, progress: Progress) -> WorkReport:
        """Do a piece of work there. Raises what fails there, or WorkerLost."""
        try:
            self.send(work)
            while isinstance(message := self.receive(), StageProgress):
                progress(message)
            report: WorkReport = message
            return report
        except (EOFError, OSError) as error:
            raise WorkerLost(work.shard, 1, f"its process ended with {self.wait()}; it may lack memory") from error


def _serve(connection: Connection) -> None:
    """Do work until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the other side decides
    own_process()
    log_to_stderr()
    os.nice(_NICENESS)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        location, trust = connection.recv()
        worker: Any = None
        while True:
            work: Work = connection.recv()
            try:
                worker = worker or _worker(location, trust)
                with closing(worker.run(work)) as messages:
                    for message in messages:
                        connection.send(message)
            except RaymuError as error:
                connection.send(error)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                connection.send(TrainingFailed(work.shard, 0, f"{type(error).__name__}: {one_line(error)}"))


def _worker(location: str, trust: Trust) -> Any:
    with imports_uncollected():
        from raymu.service.shard.worker import ShardWorker
    return ShardWorker(RunStore(location, trust=trust))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
