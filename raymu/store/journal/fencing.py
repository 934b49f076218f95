"""Opens the journal of a run, and passes it from one coordinator to the next. `Journal.writing` refuses superseded ones."""

from contextlib import closing, suppress

import sqlalchemy as sql

from raymu.config import Config
from raymu.errors import CoordinatorSuperseded, FileCorrupt, FileMissing, RunInvalid
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.database import Database, check_database_url, parse_url
from raymu.store.journal.file_seal import JOURNAL, KnownParts, seal_journal, sealed_parts, sealed_position
from raymu.store.journal.journal import Journal
from raymu.store.keys import RunKeys
from raymu.store.layout import TERM
from raymu.store.manifest import RunManifest


def journal_url(files: RunFiles, config: Config) -> sql.URL:
    """Return the URL of the journal: the configured database, or SQLite in the run directory.

    Raises ConfigInvalid, RunInvalid.
    """
    if config.cluster.journal is not None:
        return parse_url(config.cluster.journal)
    if files.local is None:
        raise RunInvalid(
            files.display_location,
            "is not on a local disk, which SQLite needs; name a database: cluster.journal=postgresql://HOST/NAME",
        )
    return sql.URL.create("sqlite", database=str(files.local / JOURNAL))


def open_journal(files: RunFiles, keys: RunKeys, manifest: RunManifest, *, is_read_only: bool = False) -> Journal:
    """Open the journal of a run. Raises ConfigInvalid, RunInvalid."""
    database = Database(journal_url(files, Config.parse(manifest.config)), is_read_only=is_read_only)
    return Journal(database, run=manifest.run_id, key=keys.hash_key)


def check_journal_access(files: RunFiles, config: Config) -> None:
    """Check that a new run can have its journal. Raises ConfigInvalid, RunInvalid, FileUnreadable."""
    url = journal_url(files, config)
    check_database_url(url)
    if config.cluster.journal is None:
        return
    with closing(Database(url)) as database, database.reading():
        pass


class Fencing:
    """Terms of coordinators: after a takeover, writes under an earlier term are refused."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys
        self._known: KnownParts | None = None

    def create(self, journal: Journal) -> None:
        """Create the journal of a new run, without a coordinator yet, and close it."""
        self._files.write(TERM, b"0")
        try:
            journal.create()
        finally:
            journal.close(at_rest=True)
        self._seal(term=0, sequence=0)

    def restore(self, *, term: int, sequence: int) -> None:
        """Write the term and the seal of a journal that was copied from elsewhere. Raises StorageFailed."""
        self._files.write(TERM, str(term).encode())
        self._seal(term=term, sequence=sequence)

    def remove(self, manifest: RunManifest) -> None:
        """Delete the rows of an abandoned run from a shared database. Raises StorageFailed, JournalBusy."""
        if Config.parse(manifest.config).cluster.journal is not None:
            with closing(open_journal(self._files, self._keys, manifest)) as journal:
                journal.remove()

    def take_over(self, journal: Journal) -> int:
        """Become the coordinator of the run, or close the journal. Returns the term under which this process now writes.

        Raises:
            RunInvalid: The database does not know the run, or the journal is older than the files of the run.
            StorageFailed: The journal or the file of the term cannot be written.
        """
        try:
            self.require_latest(journal)
            journal.require_readable()  # before fencing out a newer raymu, which can read it
            known = self._known_parts(journal)
            term = journal.take_over(self._announce)
            is_known = known is not None and (known.sealed.epoch + 1, known.sealed.sequence) == (
                term,
                journal.written.sequence,
            )
            self._known = known if is_known else None
        except BaseException:
            journal.close()
            raise
        self.fence_writes(term)
        return term

    def release(self, journal: Journal, term: int) -> None:
        """Close the journal as its coordinator, and seal its file. Raises CoordinatorSuperseded."""
        current, head = journal.position()
        journal.close(at_rest=current == term)
        known, self._known = self._known, None
        self._seal(term=term, sequence=head.sequence, known=known if current == term else None)

    def fence_writes(self, term: int) -> None:
        """Refuse writes and deletions of files as soon as a later coordinator has taken over."""

        def fence() -> None:
            current = self.term()
            if current != term:
                raise CoordinatorSuperseded(term, current)

        self._files.fence = fence

    def term(self) -> int:
        """Return the term of the coordinator that may write files. Raises FileMissing, FileCorrupt."""
        payload = self._files.read_cached(TERM)  # read before every write
        if not (payload.isdigit() and str(int(payload)).encode() == payload):
            raise FileCorrupt(self._files.display_path(TERM), "not the number that was written")
        return int(payload)

    def require_latest(self, journal: Journal) -> None:
        """Raise RunInvalid if the journal is older than it was when a coordinator last closed it."""
        sealed = sealed_position(self._files, self._keys)  # before the journal, which only grows
        term, head = journal.position()
        if sealed > (term, head.sequence):
            raise self._older_journal("it was closed at a later event than it contains")

    def _announce(self, term: int) -> None:
        with suppress(FileMissing):
            if (current := self.term()) > term:
                raise self._older_journal(f"term {term} after {current}")
        self._files.write(TERM, str(term).encode())

    def _older_journal(self, reason: str) -> RunInvalid:
        problem = f"has a journal that is older than its files ({reason}); restore both from the same backup"
        return RunInvalid(self._files.display_location, problem)

    def _known_parts(self, journal: Journal) -> KnownParts | None:
        """Return what the seal says of the file, if nobody has written to it since, and follow what changes from now on."""
        sealed = sealed_parts(self._files, self._keys)
        if sealed is None:
            return None
        term, head = journal.position()
        changes = journal.follow_changes() if sealed.position == (term, head.sequence) else None
        return None if changes is None else KnownParts(sealed=sealed, changes=changes)

    def _seal(self, *, term: int, sequence: int, known: KnownParts | None = None) -> None:
        if self._files.exists(JOURNAL):  # not in a shared database
            seal_journal(self._files, self._keys, term=term, sequence=sequence, known=known)
