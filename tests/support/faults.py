"""A disk, an object store and a database that fail at the n-th step."""

import errno
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, TypeVar

import sqlalchemy as sql
from pyarrow import fs

from raymu.errors import CoordinatorSuperseded
from raymu.store.files.local import LocalDisk
from raymu.store.files.object_store import ObjectStorage
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.batched_writes import BatchedWrites

Answer = TypeVar("Answer")

_SUPERSEDED = 3
"""A child's exit status."""


class Steps:
    """Counts the writes of a run, including commits of the journal, and fails at one of them."""

    def __init__(self, at: int, strike: Callable[[], None], *, is_torn: bool = False) -> None:
        self.arm(at, strike, is_torn=is_torn)

    def arm(self, at: int, strike: Callable[[], None], *, is_torn: bool = False, is_lasting: bool = False) -> None:
        """Strike at a step from now on.

        at: from 1; 0 never strikes. is_torn: what is struck is half done: a write leaves half of its bytes
        is_lasting: every step after it is struck too
        """
        self._at, self.strike, self._is_torn, self._is_lasting = at, strike, is_torn, is_lasting
        self.steps = 0
        self.writes: list[int] = []
        """The steps that are writes, and can be torn."""
        self.changes: list[int] = []
        """The steps that change the files. A process that is killed at another step leaves what the step before left."""

    @property
    def is_armed(self) -> bool:
        return self._at > 0

    @property
    def has_struck(self) -> bool:
        return 0 < self._at <= self.steps

    @contextmanager
    def counting_commits(self) -> Iterator[None]:
        """Count every commit of any database in this context as a step."""

        def commit(_connection: sql.Connection) -> None:
            self.change()

        def send(writes: BatchedWrites) -> None:
            if writes._is_server:  # which is sent the commit without SQLAlchemy's
                self.change()
            original(writes)

        original = BatchedWrites.send
        sql.event.listen(sql.Engine, "commit", commit)
        BatchedWrites.send = send  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            sql.event.remove(sql.Engine, "commit", commit)
            BatchedWrites.send = original  # type: ignore[method-assign]

    def change(self) -> None:
        self.changes.append(self.steps + 1)
        self.step()

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._at or (self._is_lasting and self.has_struck):
            self.strike()


class FaultyDisk(Steps, LocalDisk):
    """A local disk on which every step counts."""

    def files(self, location: str) -> RunFiles:
        return RunFiles(location, disk=self)

    def write(self, path: Path, payload: bytes, mode: int) -> None:
        if self._is_torn and self.steps + 1 == self._at:
            super().write(path, payload[: len(payload) // 2], mode)
        self.writes.append(self.steps + 1)
        self.change()
        super().write(path, payload, mode)

    def write_parts(self, path: Path, produce: Callable[[IO[bytes]], object], mode: int) -> None:
        content = BytesIO()
        produce(content)
        self.write(path, content.getvalue(), mode)

    def make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            self.step()
        else:
            self.change()
        super().make_folder(folder)

    def replace(self, source: Path, target: Path) -> None:
        self.change()
        super().replace(source, target)

    def delete(self, path: Path) -> None:
        self.change()
        super().delete(path)

    def sync_folder(self, folder: Path) -> None:
        self.step()
        super().sync_folder(folder)


class FaultyRequests(Steps):
    """An object store on which every changing request counts. If `is_torn`, only the reply is lost."""

    def files(self, location: str) -> RunFiles:
        return RunFiles(location, objects=partial(_CountedObjects, self))

    def send(self, request: Callable[[], Answer]) -> Answer:
        if not self._is_torn:
            self.step()
            return request()
        answer = request()
        self.step()
        return answer


class _CountedObjects(ObjectStorage):
    def __init__(self, steps: FaultyRequests, system: fs.FileSystem) -> None:
        super().__init__(system)
        self._steps = steps

    def write(self, path: str, payload: bytes, *, mode: int, fence: Callable[[], None]) -> None:
        self._steps.send(lambda: ObjectStorage.write(self, path, payload, mode=mode, fence=fence))

    def delete_object(self, path: str) -> bool:
        return self._steps.send(lambda: ObjectStorage.delete_object(self, path))

    def delete(self, paths: Sequence[str]) -> int:
        """Delete the files one after the other, so that the n-th step is always the same one."""
        return sum(map(self.delete_object, paths))


def fail() -> None:
    raise OSError(errno.EIO, "Input/output error")


def run_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def in_child(work: Callable[[], None]) -> bool:
    """Do work in another process. Returns whether it was not killed. Raises AssertionError if it failed."""
    _, status = os.waitpid(_begin(work), 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "the child failed; its traceback stands above"
    return True


class StoppedChild:
    """Work in another process that suspends itself at a step."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._pid = _begin(work)
        _, status = os.waitpid(self._pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "the child came to its end"

    def go_on(self) -> bool:
        """Let the process finish. Returns whether it was not superseded. Raises AssertionError if it failed."""
        os.kill(self._pid, signal.SIGCONT)
        _, status = os.waitpid(self._pid, 0)
        assert os.WEXITSTATUS(status) in (0, _SUPERSEDED), "the child failed; its traceback stands above"
        return os.WEXITSTATUS(status) == 0


def _begin(work: Callable[[], None]) -> int:
    """Start work in another process, and return its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except CoordinatorSuperseded:
            status = _SUPERSEDED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child
