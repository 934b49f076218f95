"""The one seam through which a run's bytes go to storage and come back."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from raymu.core.records import FileRef
from raymu.core.uri import LEAVE_SECRETS_OUT, has_credentials, is_uri, redacted
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RunInvalid, StorageFailed
from raymu.store.files.concurrency import map_concurrently
from raymu.store.files.local import PARTIAL, LocalDisk, LocalFiles
from raymu.store.files.object_store import ObjectStore, as_asked
from raymu.text import one_line


def content_ref(stem: str, ending: str, payload: bytes) -> FileRef:
    """A file that is named by its content too: the same bytes, the same file."""
    digest = hashlib.sha256(payload).hexdigest()
    return FileRef(path=f"{stem}-{digest[:16]}{ending}", sha256=digest, byte_size=len(payload))


class RunFiles:
    """Files below a run directory, on any `pyarrow.fs` URI. A file appears whole or not at all."""

    fence: Callable[[], None] = staticmethod(lambda: None)
    """Asked before every write and deletion: raises where another coordinator has taken the run over."""

    def __init__(
        self,
        location: str,
        *,
        disk: LocalDisk | None = None,
        objects: Callable[[fs.FileSystem], ObjectStore] = ObjectStore,
    ) -> None:
        """location: a local path, or a URI such as s3://bucket/run; credentials are the environment's, never the URI's

        Raises RunInvalid where no storage knows it.
        """
        self.shown = redacted(location)
        if has_credentials(location):
            raise RunInvalid(self.shown, LEAVE_SECRETS_OUT)
        try:
            self._system, root = fs.FileSystem.from_uri(
                as_asked(location) if is_uri(location) else Path(location).absolute().as_uri()
            )
            self._system.get_file_info(root)
        except (ValueError, OSError) as error:
            raise RunInvalid(self.shown, f"is no place for a run ({one_line(error)}); name another") from error
        self._root = root.rstrip("/")
        is_local = isinstance(self._system, fs.LocalFileSystem)
        self._storage = LocalFiles(disk or LocalDisk()) if is_local else objects(self._system)
        self._remembered: dict[str, tuple[bytes, bytes]] = {}

    def named(self, path: str) -> str:
        """A file of the run as errors name it."""
        return f"{self.shown}/{path}".rstrip("/")

    @property
    def local(self) -> Path | None:
        """The run directory on a local disk; None on an object store."""
        return Path(self._root) if isinstance(self._storage, LocalFiles) else None

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
            places = self.local, other.local
            if not (all(places) and self._storage.link(other._at(ref.path), self._at(ref.path))):
                self.write(ref.path, other.read_checked(ref))

    def read(self, path: str) -> bytes:
        """Raises FileMissing, FileUnreadable."""
        with self._opened(path) as file:
            payload: bytes = file.read()
        return payload

    def read_again(self, path: str) -> bytes:
        """As `read`, for a small file that rarely changes: an object whose tag is the one of last time is not fetched."""
        with self._opened(path) as file:
            tag = (file.metadata() or {}).get("ETag")
            if tag is None or self._remembered.get(path, (b"", b""))[0] != tag:
                self._remembered[path] = (tag or b"", file.read())
        return self._remembered[path][1]

    def read_checked(self, ref: FileRef) -> bytes:
        """Read a file and compare its SHA-256: neither safetensors nor torch notices a flipped bit.

        Raises FileMissing, FileCorrupt, FileUnreadable.
        """
        payload = self.read(ref.path)
        if hashlib.sha256(payload).hexdigest() != ref.sha256:
            raise FileCorrupt(self.named(ref.path), "its bytes are not those that were written")
        return payload

    def damage(self, refs: Sequence[FileRef]) -> list[FileMissing | FileCorrupt | None]:
        """What is wrong with each of these files, None where it is what was written. Raises FileUnreadable."""

        def problem(ref: FileRef) -> FileMissing | FileCorrupt | None:
            try:
                self.read_checked(ref)
            except (FileMissing, FileCorrupt) as error:
                return error
            return None

        return map_concurrently(problem, refs)

    def every(self, folder: str = "") -> list[str]:
        """Paths of all files of the run, or below one of its folders, hidden and half-written ones too, sorted."""
        below = self._at(folder).rstrip("/")
        with self._reading(folder):
            found = self._system.get_file_info(fs.FileSelector(below, recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(f"{self._root}/") for info in found if info.is_file)

    def half_written(self, folder: str = "") -> list[str]:
        """Paths of what a crash left in the middle of a write; an object store has no such files."""
        return [] if self.local is None else [path for path in self.every(folder) if path.endswith(PARTIAL)]

    def list(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; none where the folder is not there."""
        with self._reading(folder):
            found = self._system.get_file_info(fs.FileSelector(self._at(folder), allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file and not info.base_name.startswith("."))

    def exists(self, path: str) -> bool:
        with self._reading(path):
            return bool(self._system.get_file_info(self._at(path)).type == fs.FileType.File)

    def keeps_versions(self, path: str) -> bool:
        """Whether what is deleted stays in the storage, as an earlier version. path: of a file that was written lately"""
        with self._reading(path):
            return self._storage.keeps_versions(self._at(path))

    @property
    def is_empty(self) -> bool:
        """Whether the run directory is not there, or holds nothing at all: no file, hidden or not, and no folder."""
        with self._reading(""):
            if self._system.get_file_info(self._root).type == fs.FileType.File:
                return False
            return not self._system.get_file_info(fs.FileSelector(self._root, allow_not_found=True))

    def missing_folders(self) -> tuple[Path, ...]:
        """The folders that a first write will make, the run directory first; none on an object store.

        Raises RunInvalid where something else is in their place, or the bucket is not there.
        """
        if self.local is None:
            bucket = self._root.partition("/")[0]
            if bucket and self._system.get_file_info(bucket).type == fs.FileType.NotFound:
                raise RunInvalid(self.shown, "is no place for a run: its bucket is not there; make it, or name another")
            return ()
        folders = (self.local, *self.local.parents)
        missing = tuple(takewhile(lambda folder: not os.path.lexists(folder), folders))
        ground = folders[len(missing)]
        if not ground.is_dir():
            raise RunInvalid(self.shown, f"is no place for a run: {ground} is no directory; name another")
        return missing

    def delete(self, *paths: str) -> int:
        """Destroy files, durably. returns: how many were there; fewer than asked as after a crash in the middle"""
        if not paths:
            return 0
        self.fence()
        try:
            return self._storage.delete_each([self._at(path) for path in paths])
        except OSError as error:
            raise StorageFailed(self.shown, _said(error)) from error

    def delete_all(self, folders: Iterable[Path]) -> None:
        """Destroy every file of the run; then these folders, where they are empty. Raises StorageFailed."""
        try:
            self._system.delete_dir_contents(self._root, missing_dir_ok=True)
            if self.local is None and "/" in self._root:  # a bucket stays
                self._system.delete_dir(self._root)  # the object that pyarrow keeps for an empty folder
        except OSError as error:
            raise StorageFailed(self.shown, _said(error)) from error
        for folder in folders:
            with suppress(OSError):  # another run may lie in it by now
                folder.rmdir()

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileUnreadable(self.named(path), _said(error)) from error

    @contextmanager
    def _opened(self, path: str) -> Iterator[pa.NativeFile]:
        """Raises FileMissing, FileUnreadable."""
        with self._reading(path):
            try:
                with self._system.open_input_file(self._at(path)) as file:
                    yield file
            except (FileNotFoundError, NotADirectoryError):
                raise FileMissing(self.named(path)) from None

    def _write(self, path: str, payload: bytes, sha256: str, mode: int) -> FileRef:
        self.fence()
        try:
            self._storage.write(self._at(path), payload, mode=mode, fence=self.fence)
        except OSError as error:
            self.fence()  # what is half-written is swept by whoever takes the run over
            raise StorageFailed(self.named(path), _said(error)) from error
        return FileRef(path=path, sha256=sha256, byte_size=len(payload))

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


def _said(error: OSError) -> str:
    return one_line(error.strerror or error)
