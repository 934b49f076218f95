"""The seal of the closed journal file: its hash, since no query notices a flipped bit between the rows."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from raymu.errors import FileCorrupt, FileMissing
from raymu.store.codec import seal, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.changed_pages import ChangedPages
from raymu.store.keys import RunKeys

JOURNAL = "journal.sqlite"
_LOG = "journal.sqlite-wal"
"""SQLite's write-ahead log: committed pages that a reader kept from being moved into the file."""
JOURNAL_SEAL = "journal.seal"
DIVIDED_FROM_BYTES = 16 * 2**20
"""Bytes of a file from which its parts are hashed one by one."""
PART_BYTES = 2**20
"""Bytes of a part: a request changes pages in some twenty places."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class DividedSeal(JournalSeal):
    """The seal of a long file, of which only those parts are hashed again that have changed since the last one.

    `sha256` is the SHA-256 of the hashes of the parts, one after another.
    """

    part_bytes: int = 0
    """Bytes of a part; the last one may have fewer. 0 in the seal of a shorter file."""
    parts: tuple[str, ...] = ()
    """SHA-256 of each part, hex; of the first one with zeros for the bytes that opening the file changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownParts:
    """What a coordinator knows of the file without reading it: how it was when it took over, and what has changed since."""

    sealed: DividedSeal
    changes: ChangedPages

    def hashes(self) -> dict[int, str]:
        """Return the hash of each part that has not changed. The first part, which opening changes, never counts as such."""
        changes, sealed = self.changes, self.sealed
        if not changes.is_complete or sealed.part_bytes != PART_BYTES:
            return {}
        changed = {(page - 1) * changes.page_bytes // PART_BYTES for page in changes.pages}
        return {part: sha256 for part, sha256 in enumerate(sealed.parts) if part and part not in changed}


def seal_journal(files: RunFiles, keys: RunKeys, *, term: int, sequence: int, known: KnownParts | None = None) -> None:
    """Write the seal, once nothing writes to the journal any more.

    Args:
        files: The files of the run.
        keys: Its keys.
        term: The term that the journal has.
        sequence: Number of its last event.
        known: What is known of the file. The default hashes all of it.

    Raises FileMissing, StorageFailed.
    """
    part_bytes = PART_BYTES if files.size(JOURNAL) >= DIVIDED_FROM_BYTES else None
    sealed = _current_seal(files, term=term, sequence=sequence, part_bytes=part_bytes, known=known)
    files.write(JOURNAL_SEAL, seal(sealed, keys.hash_key))


def sealed_parts(files: RunFiles, keys: RunKeys) -> DividedSeal | None:
    """Return the seal of a long file which is closed, and whose log was and is empty; None otherwise."""
    try:
        sealed = _read_seal(files, keys)
        is_closed = sealed.log_sha256 == _log_sha256(files) == hashlib.sha256(b"").hexdigest()
    except (FileMissing, FileCorrupt):
        return None
    return sealed if sealed.parts and is_closed else None


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
    if sealed.position > (term, sequence):  # the file is an old copy
        return False
    if sealed.position < (term, sequence) or sealed.log_sha256 != _log_sha256(files):
        return None
    if sealed.parts:
        return sealed == _current_seal(files, term=term, sequence=sequence, part_bytes=sealed.part_bytes)
    return sealed.sha256 in (_hash_of_journal(files, volatile=volatile) for volatile in (_VOLATILE, ()))


def sealed_position(files: RunFiles, keys: RunKeys) -> tuple[int, int]:
    """Return the term and the sequence at which the file was last closed; zeros without a readable seal.

    Raises FileUnreadable: a seal that cannot be read now may show that the journal is an old copy.
    """
    try:
        return _read_seal(files, keys).position
    except (FileMissing, FileCorrupt):
        return (0, 0)


def _read_seal(files: RunFiles, keys: RunKeys) -> DividedSeal:
    sealed: DividedSeal = unseal(DividedSeal, files.read(JOURNAL_SEAL), keys.hash_key, source=JOURNAL_SEAL)
    return sealed


def _current_seal(
    files: RunFiles, *, term: int, sequence: int, part_bytes: int | None, known: KnownParts | None = None
) -> JournalSeal:
    log_sha256 = _log_sha256(files)
    if part_bytes is None:
        sha256 = _hash_of_journal(files, volatile=_VOLATILE)
        return JournalSeal(epoch=term, sequence=sequence, sha256=sha256, log_sha256=log_sha256)
    parts = tuple(_part_hashes(files, part_bytes, known))
    return DividedSeal(
        epoch=term,
        sequence=sequence,
        sha256=hashlib.sha256(b"".join(map(bytes.fromhex, parts))).hexdigest(),
        log_sha256=log_sha256,
        part_bytes=part_bytes,
        parts=parts,
    )


def _log_sha256(files: RunFiles) -> str:
    log = files.read(_LOG) if files.exists(_LOG) else b""  # each reader creates an empty one
    return hashlib.sha256(log).hexdigest()


def _part_hashes(files: RunFiles, part_bytes: int, known: KnownParts | None) -> Iterator[str]:
    """Yield the hash of each part of the file, read only where it is not known."""
    hashes = known.hashes() if known is not None else {}
    for number, offset in enumerate(range(0, files.size(JOURNAL), part_bytes)):
        if number in hashes:
            yield hashes[number]
            continue
        part = files.read_part(JOURNAL, offset, part_bytes)
        yield hashlib.sha256(part if number else _without(part, _VOLATILE)).hexdigest()


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
