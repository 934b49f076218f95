"""The one seam through which a run's bytes go to storage and come back."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from uuid import uuid4

from pyarrow import fs

from raymu.core.records import FileRef
from raymu.errors import (
    FileCorrupt,
    FileMissing,
    FileUnreadable,
    RunInvalid,
    StorageFailed,
    in_one_line,
)
from raymu.store.disk import LocalDisk

PARTIAL = ".partial"
"""The end of a name while a file is being written; what a crash leaves under such a name is no file of the run."""


def content_ref(stem: str, ending: str, payload: bytes) -> FileRef:
    """A file that is named by its content too: the same bytes, the same file."""
    digest = hashlib.sha256(payload).hexdigest()
    return FileRef(path=f"{stem}-{digest[:16]}{ending}", sha256=digest, byte_size=len(payload))


class RunFiles:
    """Files below a run directory, on any `pyarrow.fs` URI. A file appears whole or not at all."""

    fence: Callable[[], None] = staticmethod(lambda: None)
    """Asked before every write and deletion: raises where another coordinator has taken the run over."""

    def __init__(self, location: str, *, disk: LocalDisk | None = None) -> None:
        """location: a local path, or a URI such as s3://bucket/run. Raises RunInvalid where no storage knows it."""
        self.location, self._disk = location, disk or LocalDisk()
        try:
            self._system, root = fs.FileSystem.from_uri(
                location if "://" in location else Path(location).absolute().as_uri()
            )
            self._system.get_file_info(root)
        except (ValueError, OSError) as error:
            raise RunInvalid(location, f"is no place for a run ({in_one_line(error)}); name another") from error
        self._root = root.rstrip("/")

    @property
    def local(self) -> Path | None:
        """The run directory on a local disk; None on an object store."""
        return Path(self._root) if isinstance(self._system, fs.LocalFileSystem) else None

    def write(self, path: str, payload: bytes, *, mode: int = 0o644) -> FileRef:
        """Write durably: after this returns, the whole file is there, also after a crash. Raises StorageFailed."""
        return self._write(path, payload, hashlib.sha256(payload).hexdigest(), mode)

    def write_content(self, stem: str, ending: str, payload: bytes) -> FileRef:
        """Write a file that is named by its content too: the same bytes, the same file."""
        ref = content_ref(stem, ending, payload)
        return self._write(ref.path, payload, ref.sha256, 0o644)

    def adopt(self, other: "RunFiles", refs: Iterable[FileRef]) -> None:
        """Have another run's files too. On one local disk nothing is copied: files are replaced whole, never changed.

        Raises FileMissing, FileCorrupt, StorageFailed.
        """
        for ref in refs:
            if not self._link(other, ref.path):
                self.write(ref.path, other.read_checked(ref))

    def read(self, path: str) -> bytes:
        """Raises FileMissing, FileUnreadable."""
        with self._reading(path):
            try:
                with self._system.open_input_file(f"{self._root}/{path}") as file:
                    payload: bytes = file.read()
            except (FileNotFoundError, NotADirectoryError):
                raise FileMissing(f"{self.location}/{path}") from None
        return payload

    def read_checked(self, ref: FileRef) -> bytes:
        """Read a file and compare its SHA-256: neither safetensors nor torch notices a flipped bit. Raises FileCorrupt."""
        payload = self.read(ref.path)
        if hashlib.sha256(payload).hexdigest() != ref.sha256:
            raise FileCorrupt(f"{self.location}/{ref.path}", "its bytes are not those that were written")
        return payload

    def every(self, folder: str = "") -> list[str]:
        """Paths of all files of the run, or below one of its folders, hidden and half-written ones too, sorted."""
        below = f"{self._root}/{folder}".rstrip("/")
        with self._reading(folder):
            found = self._system.get_file_info(fs.FileSelector(below, recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(f"{self._root}/") for info in found if info.is_file)

    def list(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; none where the folder is not there."""
        with self._reading(folder):
            found = self._system.get_file_info(fs.FileSelector(f"{self._root}/{folder}", allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file and not info.base_name.startswith("."))

    def exists(self, path: str) -> bool:
        with self._reading(path):
            return bool(self._system.get_file_info(f"{self._root}/{path}").type == fs.FileType.File)

    @property
    def is_empty(self) -> bool:
        """Whether the run directory is not there, or holds nothing at all: no file, hidden or not, and no folder."""
        with self._reading(""):
            if self._system.get_file_info(self._root).type == fs.FileType.File:
                return False
            return not self._system.get_file_info(fs.FileSelector(self._root, allow_not_found=True))

    def missing_folders(self) -> tuple[Path, ...]:
        """The folders that a first write will make, the run directory first; none on an object store.

        Raises RunInvalid where something else is in their place.
        """
        if self.local is None:
            return ()
        folders = (self.local, *self.local.parents)
        missing = tuple(takewhile(lambda folder: not os.path.lexists(folder), folders))
        ground = folders[len(missing)]
        if not ground.is_dir():
            raise RunInvalid(self.location, f"is no place for a run: {ground} is no directory; name another")
        return missing

    def delete(self, *paths: str) -> int:
        """Destroy files, durably. returns: how many were there; fewer than asked as after a crash in the middle"""
        if paths:
            self.fence()
        try:
            there = [path for path in paths if self._delete(path)]
            if self.local is not None:
                for folder in sorted({(self.local / path).parent for path in there}):
                    self._disk.sync_folder(folder)
        except OSError as error:
            raise StorageFailed(self.location, error.strerror or str(error)) from error
        return len(there)

    def delete_all(self, folders: Iterable[Path]) -> None:
        """Destroy every file of the run; then these folders, where they are empty. Raises StorageFailed."""
        try:
            self._system.delete_dir_contents(self._root, missing_dir_ok=True)
        except OSError as error:
            raise StorageFailed(self.location, error.strerror or str(error)) from error
        for folder in folders:
            with suppress(OSError):  # another run may lie in it by now
                folder.rmdir()

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileUnreadable(f"{self.location}/{path}".rstrip("/"), in_one_line(error.strerror or error)) from error

    def _link(self, other: "RunFiles", path: str) -> bool:
        if self.local is None or other.local is None:
            return False
        self._disk.make_folder((self.local / path).parent)
        try:
            self._disk.link(other.local / path, self.local / path)
        except OSError:
            return False
        return True

    def _write(self, path: str, payload: bytes, sha256: str, mode: int) -> FileRef:
        self.fence()
        try:
            if self.local is None:
                self._write_object(path, payload)
            else:
                self._write_local(self.local / path, payload, mode)
        except OSError as error:
            self.fence()  # what is half-written is swept by whoever takes the run over
            raise StorageFailed(f"{self.location}/{path}", error.strerror or str(error)) from error
        return FileRef(path=path, sha256=sha256, byte_size=len(payload))

    def _delete(self, path: str) -> bool:
        try:
            if self.local is None:
                self._system.delete_file(f"{self._root}/{path}")
            else:
                self._disk.delete(self.local / path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _write_object(self, path: str, payload: bytes) -> None:
        with self._system.open_output_stream(f"{self._root}/{path}") as file:
            file.write(payload)

    def _write_local(self, path: Path, payload: bytes, mode: int) -> None:
        partial = path.with_name(f".{path.name}.{uuid4().hex}{PARTIAL}")
        self._disk.make_folder(path.parent)
        try:
            self._disk.write(partial, payload, mode)
            self.fence()  # again: the process may have slept in between, for hours
            self._disk.replace(partial, path)
        except Exception:
            with suppress(OSError):
                self._disk.delete(partial)
            raise
        self._disk.sync_folder(path.parent)
