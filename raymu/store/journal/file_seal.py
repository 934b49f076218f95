"""The seal of the closed journal file: its hash, since no query notices a flipped bit between the rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raymu.errors import FileCorrupt, FileMissing
from raymu.store.codec import seal, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import RunKeys

JOURNAL = "journal.sqlite"
_LOG = "journal.sqlite-wal"
"""SQLite's write-ahead log: committed pages that a reader kept from being moved into the file."""
JOURNAL_SEAL = "journal.seal"
_VOLATILE = (slice(18, 20), slice(24, 28), slice(92, 100))
"""Bytes of SQLite's header that opening and closing a file changes: how it is journaled, and counters of changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalSeal:
    """The journal file as its coordinator closed it. It says nothing about a file that was written since."""

    epoch: int
    """The coordinator's term, under the name that version 0.1 stored it by."""
    sequence: int
    """Number of the last event."""
    sha256: str
    """SHA-256 of the file, hex, with zeros for the bytes that opening it changes. Version 0.1 hashed the file as it was."""
    log_sha256: str
    """SHA-256 of its write-ahead log, which is usually empty."""

    @property
    def position(self) -> tuple[int, int]:
        """The term and the sequence, which order the seals of a run."""
        return self.epoch, self.sequence


def seal_journal(files: RunFiles, keys: RunKeys, *, term: int, sequence: int) -> None:
    """Write the seal, once nothing writes to the journal any more. Raises FileMissing, StorageFailed."""
    files.write(JOURNAL_SEAL, seal(_current_seal(files, term=term, sequence=sequence), keys.hash_key))


def matches_seal(
    files: RunFiles, keys: RunKeys, *, term: int, sequence: int, most_bytes: int | None = None
) -> bool | None:
    """Return whether the file is the sealed one, or None if it was written since and not closed.

    Args:
        files: The files of the run.
        keys: Its keys.
        term: The term that the journal has.
        sequence: Number of its last event.
        most_bytes: A longer file is not hashed, and taken for the sealed one if its last event is. None hashes any.

    Raises FileMissing, FileCorrupt.
    """
    sealed = _read_seal(files, keys)
    if most_bytes is not None and files.size(JOURNAL) > most_bytes:
        return False if sealed.position > (term, sequence) else None if sealed.position < (term, sequence) else True
    current = _current_seal(files, term=term, sequence=sequence)
    if sealed.position > current.position:  # the file is an old copy
        return False
    if sealed.position < current.position or sealed.log_sha256 != current.log_sha256:
        return None
    if sealed != current and sealed.sha256 == _hash_of_journal(files, volatile=()):
        return replace(current, sha256=sealed.sha256) == sealed
    return sealed == current


def sealed_position(files: RunFiles, keys: RunKeys) -> tuple[int, int]:
    """Return the term and the sequence at which the file was last closed; zeros without a readable seal.

    Raises FileUnreadable: a seal that cannot be read now may show that the journal is an old copy.
    """
    try:
        return _read_seal(files, keys).position
    except (FileMissing, FileCorrupt):
        return (0, 0)


def _read_seal(files: RunFiles, keys: RunKeys) -> JournalSeal:
    sealed: JournalSeal = unseal(JournalSeal, files.read(JOURNAL_SEAL), keys.hash_key, source=JOURNAL_SEAL)
    return sealed


def _current_seal(files: RunFiles, *, term: int, sequence: int) -> JournalSeal:
    log = files.read(_LOG) if files.exists(_LOG) else b""  # each reader creates an empty one
    return JournalSeal(
        epoch=term,
        sequence=sequence,
        sha256=_hash_of_journal(files, volatile=_VOLATILE),
        log_sha256=hashlib.sha256(log).hexdigest(),
    )


def _hash_of_journal(files: RunFiles, *, volatile: Sequence[slice]) -> str:
    """Return the SHA-256 of the file, with zeros for some bytes of its header."""
    digest = hashlib.sha256()
    for number, part in enumerate(files.parts(JOURNAL)):
        digest.update(part if number else _without(part, volatile))
    return digest.hexdigest()


def _without(payload: bytes, volatile: Sequence[slice]) -> bytes:
    steady = bytearray(payload)
    for span in volatile:
        steady[span] = bytes(len(steady[span]))
    return bytes(steady)
