"""A backup of a run: one sealed record, and files that are named by their hashes, so that a second one copies what is new."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

from raymu.core.records import FileRef
from raymu.errors import FileCorrupt, FileMissing, RequestInvalid
from raymu.store.codec import parse_json, seal, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import HASH_KEY
from raymu.store.layout import is_partial, kind_of

RECORD = "backup.json"
FORMAT = 1
_FOLDER = "files"
_JOURNAL = "journal.sqlite"
_KEYS = frozenset({"hash.key", "signing.key"})
_ENTRIES = 2**24
"""Most files that a backup has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackupRecord:
    """What a backup holds."""

    run_id: str
    raymu_version: str
    """The version that made the backup."""
    made_at: datetime
    generation: int
    """Number of the generation that is served."""
    term: int
    """Term of the journal."""
    sequence: int
    """Number of the journal's last event."""
    files: tuple[FileRef, ...]
    """The files of the run, by their paths there. The journal is always a SQLite file."""
    format: int = FORMAT
    kind: Literal["raymu backup"] = field(default="raymu backup")


class BackupFiles:
    """The files of a backup, on a disk or an object store. It holds one state of one run."""

    def __init__(self, location: str) -> None:
        """Name a place. Raises RunInvalid."""
        self.files = RunFiles(location)

    def key(self) -> bytes:
        """Return the key of the seal, which is that of the run. Raises FileMissing, FileCorrupt, RequestInvalid."""
        tree = self._tree()
        try:
            hashes = [str(file["sha256"]) for file in tree["files"] if file["path"] == HASH_KEY]
            return bytes.fromhex(self.files.read(_stored(hashes[0])).decode())
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise FileCorrupt(self.files.display_path(RECORD), "it has no key of the run") from error

    def run_id(self) -> str | None:
        """Return the id of the run whose backup is here; None if the place is empty, or has an unfinished first backup.

        Raises RequestInvalid if something else is here.
        """
        if self.files.exists(RECORD):
            return str(self._tree().get("run_id"))
        self.files.missing_folders()
        if not (self.files.is_empty or all(_is_stored(path) for path in self.files.walk())):
            raise RequestInvalid(f"{self.files.display_location} is not empty and no backup; name another folder")
        return None

    def read(self, key: bytes) -> BackupRecord:
        """Read the record. Raises FileMissing, FileCorrupt."""
        source = self.files.display_path(RECORD)
        record: BackupRecord = unseal(BackupRecord, self.files.read(RECORD), key, source=source)
        if len(record.files) > _ENTRIES or any(kind_of(file.path) is None for file in record.files):
            raise FileCorrupt(source, "it names files that no run has")
        return record

    def held(self, *, is_read: bool = False) -> set[str]:
        """Return the hashes of the files that are here.

        Args:
            is_read: Whether each is read, and left out if its bytes are not those that were written.

        Raises FileUnreadable.
        """
        return {name for name in self.files.list(_FOLDER) if not is_read or self._is_sound(name)}

    def add(self, source: RunFiles, ref: FileRef) -> None:
        """Copy a file of the run, and compare its hash. Raises FileMissing, FileCorrupt, StorageFailed."""
        self.write(ref, cast(bytes, memoryview(source.map_checked(ref))))

    def write(self, ref: FileRef, payload: bytes) -> None:
        """Write the bytes of a file of the run. Raises StorageFailed."""
        self.files.write(_stored(ref.sha256), payload, mode=_mode(ref.path))

    def finish(self, record: BackupRecord, key: bytes) -> int:
        """Write the record, and then destroy all that it does not name. Returns how many files were destroyed.

        Raises StorageFailed.
        """
        self.files.write(RECORD, seal(record, key))
        named = {file.sha256 for file in record.files}
        stale = [_stored(sha256) for sha256 in self.held() - named]
        self.files.delete(*filter(_is_partial, self.files.partial_writes()))
        return self.files.delete(*stale)

    def copy_out(self, record: BackupRecord, target: RunFiles, *, skip: Iterable[str]) -> None:
        """Write the files into a run, each under its path and with its hash compared. Raises FileMissing, FileCorrupt.

        Args:
            record: What the backup holds.
            target: The files of the run.
            skip: Paths that are left out.
        """
        left_out = frozenset(skip)
        for file in record.files:
            if file.path not in left_out:
                target.write(file.path, self.bytes_of(file), mode=_mode(file.path))

    def bytes_of(self, file: FileRef) -> bytes:
        """Return the bytes of a file, mapped into memory. Raises FileMissing, FileCorrupt."""
        stored = FileRef(path=_stored(file.sha256), sha256=file.sha256, byte_size=file.byte_size)
        return cast(bytes, memoryview(self.files.map_checked(stored)))

    def _is_sound(self, sha256: str) -> bool:
        try:
            return hashlib.sha256(self.files.read(_stored(sha256))).hexdigest() == sha256
        except FileMissing:
            return False

    def _tree(self) -> dict[str, Any]:
        try:
            tree = parse_json(self.files.read(RECORD), source=self.files.display_path(RECORD))
        except FileMissing:
            raise RequestInvalid(f"{self.files.display_location} is no backup: it has no {RECORD}") from None
        if not (isinstance(tree, dict) and tree.get("kind") == "raymu backup" and isinstance(tree.get("files"), list)):
            raise FileCorrupt(self.files.display_path(RECORD), "not what was written: it is no backup")
        if tree.get("format") != FORMAT:
            raise RequestInvalid(f"{self.files.display_location} was made by a newer raymu; install that version")
        return tree


def ref_of(path: str, payload: bytes) -> FileRef:
    """Return the reference of a file of a run by its bytes."""
    return FileRef(path=path, sha256=hashlib.sha256(payload).hexdigest(), byte_size=len(payload))


def _stored(sha256: str) -> str:
    return f"{_FOLDER}/{sha256}"


def _is_stored(path: str) -> bool:
    return path.startswith(f"{_FOLDER}/") or _is_partial(path)


def _is_partial(path: str) -> bool:
    """Return whether a path is one under which a file was being written: other hidden files are somebody's."""
    return is_partial(path.removeprefix(f"{_FOLDER}/"))


def _mode(path: str) -> int:
    return 0o600 if path in _KEYS else 0o644
