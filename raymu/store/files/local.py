"""The local disk as a storage. Only this module writes or deletes bytes of a run on a disk."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

PARTIAL = ".partial"
"""The ending of a file name while the file is being written. A crash leaves such files, which are not part of the run."""


class LocalDisk:
    """Single durable steps on a disk. A crash may come after each one, and tests fail each of them in turn."""

    def write(self, path: Path, payload: bytes, mode: int) -> None:
        """Write a new file, through to the disk."""
        with _new_file(path, mode) as file:
            file.write(payload)

    def write_parts(self, path: Path, produce: Callable[[IO[bytes]], object], mode: int) -> None:
        """Write a new file, through to the disk, of what a function writes to it."""
        with _new_file(path, mode) as file:
            produce(file)

    def make_folder(self, folder: Path) -> None:
        """Make a folder, and the missing ones above it."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self.sync_folder(folder.parent)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name. Raises OSError across disks, and if the target exists."""
        target.hardlink_to(source)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file, over the target if it exists, in one step."""
        source.replace(target)

    def delete(self, path: Path) -> None:
        """Delete a file. Raises FileNotFoundError."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Make names that were added to a folder, or removed from it, survive a power cut."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _new_file(path: Path, mode: int) -> Iterator[IO[bytes]]:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


class LocalStorage:
    """Files on a local disk, written under another name first and renamed once they are whole."""

    is_local = True

    def __init__(self, disk: LocalDisk) -> None:
        self._disk = disk

    def write(self, path: str, payload: bytes, *, mode: int, fence: Callable[[], None]) -> None:
        target = Path(path)
        partial = target.with_name(f".{target.name}.{uuid4().hex}{PARTIAL}")
        self._disk.make_folder(target.parent)
        try:
            self._disk.write(partial, payload, mode)
            fence()  # again: the process may have slept for hours during the write
            self._disk.replace(partial, target)
        except Exception:
            with suppress(OSError):
                self._disk.delete(partial)
            raise
        self._disk.sync_folder(target.parent)

    def write_stream(
        self, stem: str, produce: Callable[[IO[bytes]], str], *, mode: int, fence: Callable[[], None]
    ) -> None:
        """Write a file durably whose name follows from its bytes.

        Args:
            stem: The beginning of its path.
            produce: Writes the bytes to an open file, and returns the path.
            mode: The permissions.
            fence: As for `write`.
        """
        paths: list[str] = []
        beginning = Path(stem)
        partial = beginning.with_name(f".{beginning.name}.{uuid4().hex}{PARTIAL}")
        self._disk.make_folder(partial.parent)
        try:
            self._disk.write_parts(partial, lambda file: paths.append(produce(file)), mode)
            fence()  # again: the process may have slept for hours during the write
            self._disk.replace(partial, Path(paths[0]))
        except Exception:
            with suppress(OSError):
                self._disk.delete(partial)
            raise
        self._disk.sync_folder(partial.parent)

    def link(self, source: str, target: str) -> bool:
        self._disk.make_folder(Path(target).parent)
        try:
            self._disk.link(Path(source), Path(target))
        except OSError:  # across disks, for example
            return False
        return True

    def delete(self, paths: Sequence[str]) -> int:
        folders = []
        for path in map(Path, paths):
            with suppress(FileNotFoundError, NotADirectoryError):
                self._disk.delete(path)
                folders.append(path.parent)
        for folder in sorted(set(folders)):
            self._disk.sync_folder(folder)
        return len(folders)

    def keeps_versions(self, path: str) -> bool:  # noqa: ARG002
        return False
