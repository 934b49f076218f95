"""A local disk, one durable step at a time: the only place where a run's bytes are written or deleted locally."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

PARTIAL = ".partial"
"""The end of a name while a file is being written; what a crash leaves under such a name is no file of the run."""


class LocalDisk:
    """Every method is one step after which a crash may come; tests fail each of them in turn."""

    def write(self, path: Path, payload: bytes, mode: int) -> None:
        """Write a new file, through to the disk."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())

    def make_folder(self, folder: Path) -> None:
        """With the folders above it, as far as they are missing."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self.sync_folder(folder.parent)

    def link(self, source: Path, target: Path) -> None:
        """Give a file another name. Raises OSError across disks, and where the target is there already."""
        target.hardlink_to(source)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def delete(self, path: Path) -> None:
        """Raises FileNotFoundError."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Names that came or went in a folder survive a power cut only after this."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class LocalFiles:
    """Files that appear whole or not at all, whenever a crash comes."""

    def __init__(self, disk: LocalDisk) -> None:
        self._disk = disk

    def write(self, path: str, payload: bytes, *, mode: int, fence: Callable[[], None]) -> None:
        """fence: raises where the file may not appear any more"""
        target = Path(path)
        partial = target.with_name(f".{target.name}.{uuid4().hex}{PARTIAL}")
        self._disk.make_folder(target.parent)
        try:
            self._disk.write(partial, payload, mode)
            fence()  # again: the process may have slept in between, for hours
            self._disk.replace(partial, target)
        except Exception:
            with suppress(OSError):
                self._disk.delete(partial)
            raise
        self._disk.sync_folder(target.parent)

    def link(self, source: str, target: str) -> bool:
        """Give a file another name. returns: False where that cannot be, as across disks"""
        self._disk.make_folder(Path(target).parent)
        try:
            self._disk.link(Path(source), Path(target))
        except OSError:
            return False
        return True

    def delete_each(self, paths: Sequence[str]) -> int:
        """returns: how many were there"""
        folders = []
        for path in map(Path, paths):
            with suppress(FileNotFoundError, NotADirectoryError):
                self._disk.delete(path)
                folders.append(path.parent)
        for folder in sorted(set(folders)):
            self._disk.sync_folder(folder)
        return len(folders)

    def keeps_versions(self, path: str) -> bool:  # noqa: ARG002
        """Never: what is deleted is gone."""
        return False
