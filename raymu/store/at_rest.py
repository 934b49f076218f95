"""The journal's file at rest: its hash, sealed, since a flipped bit between rows is seen by no query."""

import hashlib
from dataclasses import dataclass

from raymu.store.files import RunFiles
from raymu.store.keys import RunKeys
from raymu.store.seals import seal, unseal

JOURNAL = "journal.sqlite"
AT_REST = "journal.seal"


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalAtRest:
    """What the file was when its coordinator closed it. It says nothing of a file that was written since.

    sequence: of the last event; sha256: of the file
    """

    epoch: int
    sequence: int
    sha256: str


def seal_at_rest(files: RunFiles, keys: RunKeys, *, epoch: int, sequence: int) -> None:
    """Once nothing writes the journal any more. Raises FileMissing, StorageFailed."""
    sha256 = hashlib.sha256(files.read(JOURNAL)).hexdigest()
    files.write(AT_REST, seal(JournalAtRest(epoch=epoch, sequence=sequence, sha256=sha256), keys.hash_key))


def is_at_rest(files: RunFiles, keys: RunKeys, *, epoch: int, sequence: int) -> bool | None:
    """Whether the file is the one that was sealed; None where it was written since, and not closed.

    Raises FileMissing, FileCorrupt.
    """
    sealed: JournalAtRest = unseal(JournalAtRest, files.read(AT_REST), keys.hash_key, source=AT_REST)
    if sealed.epoch != epoch or sealed.sequence < sequence:
        return None
    return sealed.sequence == sequence and hashlib.sha256(files.read(JOURNAL)).hexdigest() == sealed.sha256
