"""A run's journal: where it lies, and the coordinators that hold it, one after another."""

from contextlib import closing, suppress

import sqlalchemy as sql

from raymu.config import Config
from raymu.errors import CoordinatorSuperseded, FileCorrupt, FileMissing, RunInvalid
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.database import Database, check_journal_url, parse_url
from raymu.store.journal.file_seal import JOURNAL, seal_journal, sealed_position
from raymu.store.journal.journal import Journal
from raymu.store.keys import RunKeys
from raymu.store.layout import TERM
from raymu.store.manifest import RunManifest


def journal_url(files: RunFiles, config: Config) -> sql.URL:
    """Where the journal is: the configured database, or SQLite beside the run. Raises ConfigInvalid, RunInvalid."""
    if config.cluster.journal is not None:
        return parse_url(config.cluster.journal)
    if files.local is None:
        raise RunInvalid(
            files.display_location,
            "is on no local disk, which SQLite needs; name a database: cluster.journal=postgresql://HOST/NAME",
        )
    return sql.URL.create("sqlite", database=str(files.local / JOURNAL))


def open_journal(files: RunFiles, keys: RunKeys, manifest: RunManifest, *, is_read_only: bool = False) -> Journal:
    """Raises ConfigInvalid, RunInvalid."""
    database = Database(journal_url(files, Config.parse(manifest.config)), is_read_only=is_read_only)
    return Journal(database, run=manifest.run_id, key=keys.hash_key)


def check_journal_access(files: RunFiles, config: Config) -> None:
    """For a run that is to be created. Raises ConfigInvalid, RunInvalid, FileUnreadable where it can have no journal."""
    url = journal_url(files, config)
    check_journal_url(url)
    if config.cluster.journal is None:
        return
    with closing(Database(url)) as database, database.reading():
        pass


class Fencing:
    """Each coordinator has an term: once it takes over, whoever writes under an earlier one is refused."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys

    def create(self, journal: Journal) -> None:
        """With no coordinator yet; the journal is created, and closed."""
        self._files.write(TERM, b"0")
        try:
            journal.create()
        finally:
            journal.close()
        self._seal(term=0, sequence=0)

    def remove(self, manifest: RunManifest) -> None:
        """Of a run that is given up: its journal goes, where it is not beside the run. Raises StorageFailed, JournalBusy."""
        if Config.parse(manifest.config).cluster.journal is not None:
            with closing(open_journal(self._files, self._keys, manifest)) as journal:
                journal.remove()

    def take_over(self, journal: Journal) -> int:
        """Become the run's coordinator, or close the journal. returns: the term under which is written from here on

        Raises RunInvalid, where the journal is older than the run's files too; StorageFailed.
        """
        try:
            self.require_latest(journal)
            journal.require_readable()  # before a newer raymu, which could go on, is fenced out
            term = journal.take_over(self._announce)
        except BaseException:
            journal.close()
            raise
        self.fence_writes(term)
        return term

    def release(self, journal: Journal, term: int) -> None:
        """Close the journal of a coordinator, and seal its file. Raises CoordinatorSuperseded."""
        head = journal.head()
        journal.close()
        self._seal(term=term, sequence=head.sequence)

    def fence_writes(self, term: int) -> None:
        """From here on, nothing is written or deleted once a later coordinator has taken over."""

        def fence() -> None:
            current = self.term()
            if current != term:
                raise CoordinatorSuperseded(term, current)

        self._files.fence = fence

    def term(self) -> int:
        """Of the coordinator that may write. Raises FileMissing, FileCorrupt."""
        payload = self._files.read_cached(TERM)  # before every write
        if not (payload.isdigit() and str(int(payload)).encode() == payload):
            raise FileCorrupt(self._files.display_path(TERM), "not the number that was written")
        return int(payload)

    def require_latest(self, journal: Journal) -> None:
        """Raises RunInvalid where the journal is older than it was when a coordinator closed it."""
        if sealed_position(self._files, self._keys) > (
            journal.term(),
            journal.head().sequence,
        ):  # the seal is read first
            raise self._is_older("it was closed later than it ends")

    def _announce(self, term: int) -> None:
        with suppress(FileMissing):
            if (current := self.term()) > term:
                raise self._is_older(f"term {term} after {current}")
        self._files.write(TERM, str(term).encode())

    def _is_older(self, how: str) -> RunInvalid:
        problem = f"has a journal that is older than its files ({how}); restore both from the same backup"
        return RunInvalid(self._files.display_location, problem)

    def _seal(self, *, term: int, sequence: int) -> None:
        if self._files.exists(JOURNAL):  # it is beside the run
            seal_journal(self._files, self._keys, term=term, sequence=sequence)
