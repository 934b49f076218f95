"""The one seam through which a run's bytes go to storage and come back."""

import hashlib
import os
from pathlib import Path

from pyarrow import fs

from raymu.core.records import FileRef
from raymu.errors import FileCorrupt, FileMissing, RunInvalid, StorageFull


class RunFiles:
    """Files below a run directory, on any `pyarrow.fs` URI. A file appears whole or not at all."""

    def __init__(self, location: str) -> None:
        """location: a local path, or a URI such as s3://bucket/run. Raises RunInvalid for an unknown scheme."""
        self.location = location
        try:
            self._system, root = fs.FileSystem.from_uri(
                location if "://" in location else Path(location).absolute().as_uri()
            )
        except (ValueError, OSError) as error:
            raise RunInvalid(location, f"is no place for a run ({' '.join(str(error).split())})") from error
        self._root = root.rstrip("/")

    @property
    def local(self) -> Path | None:
        """The run directory on a local disk; None on an object store."""
        return Path(self._root) if isinstance(self._system, fs.LocalFileSystem) else None

    def write(self, path: str, payload: bytes, *, mode: int = 0o644) -> FileRef:
        """Write durably: after this returns, the whole file is there, also after a crash. Raises StorageFull."""
        try:
            if self.local is None:
                self._write_object(path, payload)
            else:
                _write_local(self.local / path, payload, mode)
        except OSError as error:
            raise StorageFull(f"{self.location}/{path}", error.strerror or str(error)) from error
        return FileRef(path=path, sha256=hashlib.sha256(payload).hexdigest(), byte_size=len(payload))

    def read(self, path: str) -> bytes:
        """Raises FileMissing."""
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

    def list(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; none where the folder is not there."""
        selector = fs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        found = self._system.get_file_info(selector)
        return sorted(info.base_name for info in found if info.is_file and not info.base_name.startswith("."))

    def exists(self, path: str) -> bool:
        return bool(self._system.get_file_info(f"{self._root}/{path}").type != fs.FileType.NotFound)

    @property
    def is_empty(self) -> bool:
        """Whether the run directory is not there, or holds nothing at all: no file, hidden or not, and no folder."""
        if self._system.get_file_info(self._root).type == fs.FileType.File:
            return False
        return not self._system.get_file_info(fs.FileSelector(self._root, allow_not_found=True))

    def delete(self, path: str) -> bool:
        """Destroy a file. returns: False where it was not there, as after a crash in the middle"""
        try:
            self._system.delete_file(f"{self._root}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def delete_all(self) -> None:
        """Destroy the run directory."""
        self._system.delete_dir(self._root)

    def _write_object(self, path: str, payload: bytes) -> None:
        with self._system.open_output_stream(f"{self._root}/{path}") as file:
            file.write(payload)


def _write_local(path: Path, payload: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
