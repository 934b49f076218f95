"""The journal's file at rest: its hash, sealed, since a flipped bit between rows is seen by no query."""

import hashlib
from dataclasses import dataclass

from raymu.errors import FileCorrupt, FileMissing
from raymu.store.codec import seal, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import RunKeys

JOURNAL = "journal.sqlite"
_LOG = "journal.sqlite-wal"
"""What SQLite reads besides the file: committed pages that a reader kept from being moved into it."""
JOURNAL_SEAL = "journal.seal"


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalSeal:
    """What the file was when its coordinator closed it. It says nothing of a file that was written since.

    sequence: of the last event; sha256: of the file; log_sha256: of its write-ahead log, which is empty as a rule
    """

    epoch: int
    """The coordinator's term, under the name that version 0.1 stored it by."""
    sequence: int
    sha256: str
    log_sha256: str

    @property
    def position(self) -> tuple[int, int]:
        return self.epoch, self.sequence


def seal_journal(files: RunFiles, keys: RunKeys, *, term: int, sequence: int) -> None:
    """Once nothing writes the journal any more. Raises FileMissing, StorageFailed."""
    files.write(JOURNAL_SEAL, seal(_current_seal(files, term=term, sequence=sequence), keys.hash_key))


def matches_seal(files: RunFiles, keys: RunKeys, *, term: int, sequence: int) -> bool | None:
    """Whether the file is the one that was sealed; None where it was written since, and not closed.

    Raises FileMissing, FileCorrupt.
    """
    sealed, current = _read_seal(files, keys), _current_seal(files, term=term, sequence=sequence)
    if sealed.position > current.position:  # an old copy of the file
        return False
    if sealed.position < current.position or sealed.log_sha256 != current.log_sha256:
        return None
    return sealed == current


def sealed_position(files: RunFiles, keys: RunKeys) -> tuple[int, int]:
    """The term and the sequence at which the file was closed last; zeros where its seal says nothing.

    Raises FileUnreadable: it may say that the journal is an old one.
    """
    try:
        return _read_seal(files, keys).position
    except (FileMissing, FileCorrupt):
        return (0, 0)


def _read_seal(files: RunFiles, keys: RunKeys) -> JournalSeal:
    sealed: JournalSeal = unseal(JournalSeal, files.read(JOURNAL_SEAL), keys.hash_key, source=JOURNAL_SEAL)
    return sealed


def _current_seal(files: RunFiles, *, term: int, sequence: int) -> JournalSeal:
    log = files.read(_LOG) if files.exists(_LOG) else b""  # each reader makes an empty one
    return JournalSeal(
        epoch=term,
        sequence=sequence,
        sha256=hashlib.sha256(files.read(JOURNAL)).hexdigest(),
        log_sha256=hashlib.sha256(log).hexdigest(),
    )
