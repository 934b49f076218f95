"""Reading, writing and listing the files of a run, on any storage, with the errors that raymu raises."""

import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar, cast
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from raymu.core.records import FileRef
from raymu.core.uri import LEAVE_SECRETS_OUT, has_credentials, is_uri, redacted
from raymu.data.arrow_source import arrow_reader
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RunInvalid, StorageFailed
from raymu.store.files.concurrency import map_concurrently
from raymu.store.files.content import HashedWriter, content_ref
from raymu.store.files.database_files import read_in_use
from raymu.store.files.links import entries_below, has_linked_folder, is_file
from raymu.store.files.local import PARTIAL, LocalDisk, LocalStorage
from raymu.store.files.object_store import ObjectStorage, with_delayed_open
from raymu.store.files.retries import is_passing_storage, retried
from raymu.store.files.storage import Storage
from raymu.text import one_line

Method = TypeVar("Method", bound=Callable[..., Any])

_CHUNK = 2**23
"""Bytes of a large object that are read at once."""
_SMALL = 2**26
"""Bytes of an object up to which it is read into memory."""


def _tried_again(method: Method) -> Method:
    """Try what failed in an object store again: each of these methods does no harm to what it did already."""

    @wraps(method)
    def tried(files: "RunFiles", *values: Any, **named: Any) -> Any:
        if files.local is not None:
            return method(files, *values, **named)
        return retried(lambda: method(files, *values, **named), is_passing_storage)

    return cast(Method, tried)


class RunFiles:
    """The files below a run directory, at any `pyarrow.fs` URI. A file appears whole or not at all."""

    fence: Callable[[], None] = staticmethod(lambda: None)
    """Called before every write and deletion. Raises if a later coordinator has taken the run over."""

    def __init__(
        self,
        location: str,
        *,
        disk: LocalDisk | None = None,
        objects: Callable[[fs.FileSystem], ObjectStorage] = ObjectStorage,
    ) -> None:
        """Find the storage of a location.

        Args:
            location: A local path, or a URI such as s3://bucket/run. Credentials come from the environment, never the URI.
            disk: The steps on a local disk. Tests replace them by failing ones.
            objects: The storage of an object store. Tests replace it likewise.

        Raises:
            RunInvalid: No storage has such a location.
        """
        self.display_location = redacted(location)
        if has_credentials(location):
            raise RunInvalid(self.display_location, LEAVE_SECRETS_OUT)
        try:
            self._system, root = fs.FileSystem.from_uri(
                with_delayed_open(location) if is_uri(location) else Path(location).absolute().as_uri()
            )
            self._system.get_file_info(root)
        except (ValueError, OSError) as error:
            raise RunInvalid(
                self.display_location, f"is not a location for a run ({one_line(error)}); name another"
            ) from error
        self._root = root.rstrip("/")
        is_local = isinstance(self._system, fs.LocalFileSystem)
        self._storage: Storage = LocalStorage(disk or LocalDisk()) if is_local else objects(self._system)
        self._remembered: dict[str, tuple[bytes, bytes]] = {}

    def display_path(self, path: str) -> str:
        """Return the path of a file as error messages show it, without credentials."""
        return f"{self.display_location}/{path}".rstrip("/")

    @property
    def local(self) -> Path | None:
        """The run directory on a local disk; None on an object store."""
        return Path(self._root) if self._storage.is_local else None

    def write(self, path: str, payload: bytes, *, mode: int = 0o644) -> FileRef:
        """Write a file durably: once this returns, no crash takes it away. Raises StorageFailed."""
        return self._write(path, payload, hashlib.sha256(payload).hexdigest(), mode)

    def write_content(self, stem: str, ending: str, payload: bytes) -> FileRef:
        """Write a file whose name contains its hash, so that equal bytes are one file. Raises StorageFailed."""
        ref = content_ref(stem, ending, hashlib.sha256(payload).hexdigest(), len(payload))
        return self._write(ref.path, payload, ref.sha256, 0o644)

    def write_stream(self, stem: str, ending: str, produce: Callable[[IO[bytes]], None]) -> FileRef:
        """Write a file as `write_content` does, part by part, so that it is never whole in memory. Raises StorageFailed.

        Args:
            stem: The beginning of its name.
            ending: The end of its name.
            produce: Writes its bytes to a file that is open. May raise OSError.
        """
        if self.local is not None:
            self.fence()  # an object is written in one step at the end, which asks itself
        self._require_own_folder(stem)
        hashed = HashedWriter()

        def write(file: IO[bytes]) -> str:
            hashed.file = file
            produce(cast(IO[bytes], hashed))
            return self._at(hashed.ref(stem, ending).path)

        try:
            if isinstance(self._storage, LocalStorage):
                self._storage.write_stream(self._at(stem), write, mode=0o644, fence=self.fence)
                return hashed.ref(stem, ending)
            with TemporaryFile(prefix="raymu-") as file:
                write(file)
                file.flush()
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if hashed.byte_size else b""
        except OSError as error:
            self.fence()
            raise StorageFailed(self.display_path(stem), _message(error)) from error
        ref = hashed.ref(stem, ending)
        return self._write(ref.path, cast(bytes, content), ref.sha256, 0o644)

    def adopt(self, other: "RunFiles", refs: Iterable[FileRef]) -> None:
        """Take files of another run into this one. On one local disk they are linked: no file of a run changes in place.

        Raises FileMissing, FileCorrupt, StorageFailed.
        """
        for ref in refs:
            folders = self.local, other.local
            if not (all(folders) and self._storage.link(other._at(ref.path), self._at(ref.path))):
                self.write(ref.path, other.read_checked(ref))

    @_tried_again
    def read(self, path: str) -> bytes:
        """Return the bytes of a file. Raises FileMissing, FileUnreadable."""
        if self.local is not None and (in_use := self._read_in_use(path)) is not None:
            return in_use
        with self._opened(path) as file:
            payload: bytes = file.read()
        return payload

    def parts(self, path: str, *, part_bytes: int = 8 * 2**20) -> Iterator[bytes]:
        """Yield the bytes of a file of the run's disk part by part. Raises FileMissing, FileUnreadable."""
        for offset in range(0, self.size(path), part_bytes):
            yield self.read_part(path, offset, part_bytes)

    def read_part(self, path: str, offset: int, length: int) -> bytes:
        """Return so many bytes of a file of the run's disk, or those up to its end. Raises FileMissing, FileUnreadable."""
        part = self._read_in_use(path, offset=offset, length=length)
        if part is None:
            with self._opened(path) as file:
                part = file.read_at(length, offset)
        return part

    def size(self, path: str) -> int:
        """Return the bytes that a file of the run's disk has. Raises FileMissing, FileUnreadable."""
        with self._reading(path):
            try:
                return os.stat(self._at(path)).st_size
            except (FileNotFoundError, NotADirectoryError):
                raise FileMissing(self.display_path(path)) from None

    @_tried_again
    def read_cached(self, path: str) -> bytes:
        """Read a small file that rarely changes: an object with an unchanged ETag is not fetched again.

        Raises FileMissing, FileUnreadable.
        """
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
            raise FileCorrupt(self.display_path(ref.path), "its bytes are not those that were written")
        return payload

    @_tried_again
    def map_checked(self, ref: FileRef) -> pa.Buffer:
        """Return a file as `read_checked` does, without a copy in memory: a large object is copied to a temporary file.

        Raises FileMissing, FileCorrupt, FileUnreadable.
        """
        if ref.byte_size == 0 or (self.local is None and ref.byte_size <= _SMALL):
            return arrow_reader(self.read_checked(ref)).read_buffer()
        with self._opened(ref.path) as file:  # a link, a folder or a missing file is refused as by every reader
            if self.local is None:
                mapped = _copied(file)
                digest = hashlib.sha256(mapped).hexdigest()
            else:
                digest = _sha256(self._at(ref.path))
                mapped = pa.memory_map(self._at(ref.path)).read_buffer()
        if digest != ref.sha256:
            raise FileCorrupt(self.display_path(ref.path), "its bytes are not those that were written")
        return mapped

    def damage(self, refs: Sequence[FileRef]) -> list[FileMissing | FileCorrupt | None]:
        """Return the damage of each of these files; None for one that is as written. Raises FileUnreadable."""

        def problem(ref: FileRef) -> FileMissing | FileCorrupt | None:
            try:
                self.read_checked(ref)
            except (FileMissing, FileCorrupt) as error:
                return error
            return None

        return map_concurrently(problem, refs)

    @_tried_again
    def walk(self, folder: str = "") -> list[str]:
        """Return the sorted paths of all files of the run, or below a folder, hidden and partly written ones included."""
        below = self._at(folder).rstrip("/")
        with self._reading(folder):
            if self.local is not None:
                return sorted(self._relative(entry) for entry in self._entries(folder) if is_file(entry))
            entries = self._system.get_file_info(fs.FileSelector(below, recursive=True, allow_not_found=True))
        return sorted(entry.path.removeprefix(f"{self._root}/") for entry in entries if entry.is_file)

    def irregular(self) -> list[str]:
        """Return the sorted paths of links, and of all that is neither a file nor a folder. An object store has none.

        No listing follows a link: what it leads to is not the run's, and whoever deletes there deletes someone else's.
        """
        if self.local is None:
            return []
        with self._reading(""):
            return sorted(self._relative(entry) for entry in self._entries("") if not is_file(entry))

    def partial_writes(self, folder: str = "") -> list[str]:
        """Return the paths of files whose writing a crash interrupted. An object store never has any."""
        return [] if self.local is None else [path for path in self.walk(folder) if path.endswith(PARTIAL)]

    @_tried_again
    def list(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a folder; none if the folder does not exist."""
        if self.local is not None:
            names = (path.rpartition("/") for path in self.walk(folder))
            return sorted(name for parent, _, name in names if parent == folder and not name.startswith("."))
        with self._reading(folder):
            entries = self._system.get_file_info(fs.FileSelector(self._at(folder), allow_not_found=True))
        return sorted(entry.base_name for entry in entries if entry.is_file and not entry.base_name.startswith("."))

    @_tried_again
    def exists(self, path: str) -> bool:
        """Return whether there is a file at a path. Raises FileUnreadable."""
        with self._reading(path):
            return bool(self._system.get_file_info(self._at(path)).type == fs.FileType.File)

    @_tried_again
    def keeps_versions(self, path: str) -> bool:
        """Return whether deleted files stay readable as earlier versions. `path` names a file that was just written."""
        with self._reading(path):
            return self._storage.keeps_versions(self._at(path))

    @property
    def is_empty(self) -> bool:
        """True if the run directory does not exist, or contains no file (hidden or not) and no folder."""
        with self._reading(""):
            if self._system.get_file_info(self._root).type == fs.FileType.File:
                return False
            return not self._system.get_file_info(fs.FileSelector(self._root, allow_not_found=True))

    def missing_folders(self) -> tuple[Path, ...]:
        """Return the folders that a first write will make, the run directory first; none on an object store.

        Raises RunInvalid if something else has one of their names, or if the bucket does not exist.
        """
        if self.local is None:
            bucket = self._root.partition("/")[0]
            if bucket and self._system.get_file_info(bucket).type == fs.FileType.NotFound:
                raise RunInvalid(
                    self.display_location,
                    "is not a location for a run: its bucket does not exist; make it, or name another",
                )
            return ()
        folders = (self.local, *self.local.parents)
        missing = tuple(takewhile(lambda folder: not os.path.lexists(folder), folders))
        lowest = folders[len(missing)]
        if not lowest.is_dir():
            problem = f"is not a location for a run: {lowest} is not a directory; name another"
            raise RunInvalid(self.display_location, problem)
        return missing

    @_tried_again
    def delete(self, *paths: str) -> int:
        """Destroy files durably. Returns how many existed, which can be fewer after a crash. Raises StorageFailed."""
        if not paths:
            return 0
        self.fence()
        return self._delete(paths)

    @_tried_again
    def _delete(self, paths: Sequence[str]) -> int:
        for path in paths:
            self._require_own_folder(path)
        try:
            return self._storage.delete([self._at(path) for path in paths])
        except OSError as error:
            raise StorageFailed(self.display_location, _message(error)) from error

    def try_to_write(self, folder: str, size: int) -> None:
        """Write so many bytes into a folder, and delete them. Raises StorageFailed if the storage does not take them."""
        path = f"{folder}/.{uuid4().hex}{PARTIAL}"
        self.write(path, bytes(size))
        self._delete([path])  # no other coordinator knows of the file, so that no fence is asked again

    def together(self, *works: Callable[[], Any]) -> Sequence[Any]:
        """Do things that do not need each other: side by side on an object store, where each waits for its answers.

        Returns:
            The results, in the order of the works. After all have ended, the first failure is raised.
        """
        if self.local is not None:
            return [work() for work in works]
        return map_concurrently(lambda work: work(), works)

    def delete_all(self, folders: Iterable[Path], *, is_own: Callable[[str], bool] = lambda _path: True) -> None:
        """Destroy the files of the run, and then those of the folders that are empty. Raises StorageFailed.

        Args:
            folders: Folders above the run.
            is_own: Returns whether a path is that of a file of the run. Other files and links stay.
        """
        paths = self.walk()
        own = [path for path in paths if is_own(path)]
        try:
            if self.local is None and own == paths:
                self._system.delete_dir_contents(self._root, missing_dir_ok=True)  # many objects a request
                if "/" in self._root:  # a bucket stays
                    self._system.delete_dir(self._root)  # the object by which pyarrow marks an empty folder
            else:
                self._storage.delete([self._at(path) for path in own])
        except OSError as error:
            raise StorageFailed(self.display_location, _message(error)) from error
        below = [] if self.local is None else [Path(folder) for folder, _, _ in os.walk(self.local, topdown=False)]
        for folder in (*below[:-1], *folders):  # the last one is the run directory
            with suppress(OSError):  # it is not empty: another run may use it by now
                folder.rmdir()

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """Yield everything below a folder on a local disk except folders. No link is followed, also not to the folder."""
        if not self._has_linked_folder(f"{folder.rstrip('/')}/" if folder else ""):
            yield from entries_below(self._at(folder).rstrip("/"))

    def _relative(self, entry: os.DirEntry[str]) -> str:
        return entry.path.removeprefix(f"{self._root}/")

    def _has_linked_folder(self, path: str) -> bool:
        """Return whether a folder on the way from the run directory to a path is a link."""
        return self.local is not None and has_linked_folder(self._root, self._at(path))

    def _require_own_folder(self, path: str) -> None:
        """Raise StorageFailed for a path that leads out of the run through a link."""
        if self._has_linked_folder(path):
            raise StorageFailed(self.display_path(path), "a folder above it is a link, which leads out of the run")

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileUnreadable(self.display_path(path), _message(error)) from error

    @contextmanager
    def _opened(self, path: str) -> Iterator[pa.NativeFile]:
        """Open a file to read. Raises FileMissing, FileUnreadable."""
        with self._reading(path):
            try:
                if self.local is not None and not stat.S_ISREG(os.stat(self._at(path)).st_mode):
                    raise FileUnreadable(self.display_path(path), "it is not a file")
                with self._system.open_input_file(self._at(path)) as file:
                    yield file
            except (FileNotFoundError, NotADirectoryError):
                raise FileMissing(self.display_path(path)) from None

    def _read_in_use(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes | None:
        with self._reading(path):
            try:
                return read_in_use(self._at(path), offset=offset, length=length)
            except (FileNotFoundError, NotADirectoryError):
                raise FileMissing(self.display_path(path)) from None

    @_tried_again
    def _write(self, path: str, payload: bytes, sha256: str, mode: int) -> FileRef:
        self.fence()
        self._require_own_folder(path)
        try:
            self._storage.write(self._at(path), payload, mode=mode, fence=self.fence)
        except OSError as error:
            self.fence()  # the next coordinator deletes the partly written file
            raise StorageFailed(self.display_path(path), _message(error)) from error
        return FileRef(path=path, sha256=sha256, byte_size=len(payload))

    def _at(self, path: str) -> str:
        """Return where a path of the run is. Raises FileCorrupt if it leads out of the run: paths come from its journal."""
        if ".." in path.split("/"):
            raise FileCorrupt(self.display_path(path), "a path of the run leads out of it")
        return f"{self._root}/{path}"


def _copied(file: pa.NativeFile) -> pa.Buffer:
    """Copy an object to a temporary file, which has no name, and map that into memory."""
    with TemporaryFile(prefix="raymu-") as copy:
        while chunk := file.read(_CHUNK):
            copy.write(chunk)
        copy.flush()
        if copy.tell() == 0:  # what is empty cannot be mapped
            return pa.py_buffer(b"")
        return pa.py_buffer(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))


def _message(error: OSError) -> str:
    return one_line(error.strerror or error)


def _sha256(path: str) -> str:
    """Return the hash of a file on a local disk. What is read through a map would stay in the memory of the process."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
