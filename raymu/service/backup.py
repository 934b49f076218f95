"""Backups of a run, taken while it may go on, and runs that are restored from them."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from raymu.config import Config
from raymu.core.records import FileRef
from raymu.core.trust import EVERYTHING, Trust
from raymu.errors import FileCorrupt, FileMissing, RequestInvalid, RunInvalid
from raymu.service.history import History, open_history
from raymu.service.needed_files import needed_files
from raymu.store.backup import BackupFiles, BackupRecord, ref_of
from raymu.store.codec import seal, unseal
from raymu.store.creation import claim_location, require_empty
from raymu.store.generations import generation_path
from raymu.store.journal.database import Database, check_database_url
from raymu.store.journal.event_chain import ChainHead
from raymu.store.journal.export import copy_journal, opened_copy, require_absent, restore_journal
from raymu.store.journal.fencing import journal_url
from raymu.store.journal.file_seal import JOURNAL
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.keys import KEY_FILES
from raymu.store.layout import MANIFEST, UNFINISHED
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from raymu.text import plural

_ATTEMPTS = 10
"""Times that a backup begins again because files that the journal named were purged meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """A backup that was made."""

    target: str
    generation: int
    """Number of the generation that is served."""
    sequence: int
    """Number of the journal's last event."""
    files: int
    """Number of the files that the backup holds."""
    copied: int
    """Number of those that were not there before."""
    destroyed: int
    """Number of files of earlier backups here that were destroyed, because the run needs them no more."""
    keeps_versions: bool
    """Whether the place keeps what is destroyed there as earlier versions."""

    def __str__(self) -> str:
        """Return one line."""
        copied = f"{self.copied} of {plural(self.files, 'file')} copied, {self.destroyed} destroyed"
        return f"backed up generation {self.generation} (event {self.sequence}) into {self.target}: {copied}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """A run that was restored."""

    run: str
    run_id: str
    generation: int
    made_at: datetime
    """When the backup was made."""

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"restored generation {self.generation} into {self.run}, from a backup of {self.made_at:%Y-%m-%d %H:%M} UTC"
        )


def back_up(store: RunStore, target: str, *, is_checked: bool = False) -> Backup:
    """Bring the backup at a place up to the present state of a run. A coordinator may go on meanwhile.

    The place holds one state of one run. What the run has purged since the last backup here is destroyed.

    Args:
        store: The run.
        target: An empty or missing folder or prefix, or one with an earlier backup of this run.
        is_checked: Whether the files that are there are read and compared with their hashes. Those that differ are copied
            again.

    Raises:
        RequestInvalid: Something else is there.
        RunInvalid: The run has no generation yet.
        FileMissing: The run has lost a file.
        FileCorrupt: A file of the run was changed.
    """
    backup = BackupFiles(target)
    _require_elsewhere(store, backup)
    if (known := backup.run_id()) not in (None, store.manifest.run_id):
        raise RequestInvalid(f"{backup.files.display_location} has a backup of run {known}; name another folder")
    held = backup.held(is_read=is_checked)
    before: tuple[int, ChainHead] | None = None
    for attempt in range(_ATTEMPTS):
        head = store.position()
        try:
            record, copied = _copy(RunStore(store.location, trust=store.trust), backup, held)
            break
        except (FileMissing, FileCorrupt):
            # What the journal named was purged meanwhile, unless nothing has happened since.
            if attempt + 1 == _ATTEMPTS or head == before:
                raise
            before = head
    destroyed = backup.finish(record, store.keys.hash_key)
    return Backup(
        target=backup.files.display_location,
        generation=record.generation,
        sequence=record.sequence,
        files=len(record.files),
        copied=copied,
        destroyed=destroyed,
        keeps_versions=backup.files.keeps_versions("backup.json"),
    )


def restore(source: str, location: str, *, journal: str | None = None, trust: Trust = EVERYTHING) -> Restored:
    """Write the run that a backup holds to a new place.

    Args:
        source: The backup.
        location: An empty or missing folder or prefix.
        journal: The URL of the database for the journal, instead of that of the backed-up run.
        trust: The demands of the run that are followed.

    Raises:
        RequestInvalid: There is no backup.
        FileMissing: The backup has lost a file.
        FileCorrupt: A file of the backup was changed.
        RunInvalid: Something else is at the place, or its database has the run already.
        RunUntrusted: The run names a database that is not trusted.
    """
    backup = BackupFiles(source)
    key = backup.key()
    record = backup.read(key)
    files = {file.path: file for file in record.files}
    if missing := {MANIFEST, JOURNAL, *KEY_FILES} - files.keys():
        raise FileCorrupt(backup.files.display_location, f"it lacks {min(missing)}")
    payload = bytes(backup.bytes_of(files[MANIFEST]))
    manifest: RunManifest = unseal(RunManifest, payload, key, source=MANIFEST)
    config = Config.parse(manifest.config)
    if journal is not None:
        config = replace(config, cluster=replace(config.cluster, journal=journal))
        payload = seal(replace(manifest, config=config.tree()), key)
    store = RunStore(location, trust=trust)
    trust.require(store.files.display_location, config, "cluster.journal")
    require_empty(store)
    url = journal_url(store.files, config)
    check_database_url(url)
    note = manifest.run_id.encode()
    is_repeated = store.files.exists(UNFINISHED) and store.files.read(UNFINISHED) == note
    with closing(Database(url)) if config.cluster.journal is not None else nullcontext() as database:
        if database is not None and not is_repeated:
            require_absent(database, run=manifest.run_id, name=store.files.display_location)
        claim_location(store, note)
        backup.copy_out(record, store.files, skip=(MANIFEST, JOURNAL))
        if database is None:
            store.files.write(JOURNAL, backup.bytes_of(files[JOURNAL]))
        else:
            with _temporary(bytes(backup.bytes_of(files[JOURNAL]))) as copy:
                name = store.files.display_location
                restore_journal(copy, database, run=manifest.run_id, name=name, is_repeated=is_repeated)
    store.fencing.restore(term=record.term, sequence=record.sequence)
    store.files.write(MANIFEST, payload)
    store.files.delete(UNFINISHED)
    return Restored(
        run=store.files.display_location,
        run_id=manifest.run_id,
        generation=record.generation,
        made_at=record.made_at,
    )


def _copy(store: RunStore, backup: BackupFiles, held: set[str]) -> tuple[BackupRecord, int]:
    """Copy what a backup lacks. Returns its record, and the number of copied files."""
    manifest = store.files.read(MANIFEST)
    with _temporary(b"") as copy:
        copy.unlink()
        _copy_journal(store, copy)
        history, head, term = _history(store, copy)
        if history.published is None:
            raise RunInvalid(store.files.display_location, "has no generation yet; run `raymu settle`, then back it up")
        store.generations.check_chain(history.published)
        journal = copy.read_bytes()
    small = {MANIFEST: manifest, JOURNAL: journal, **{name: store.files.read(name) for name in sorted(KEY_FILES)}}
    for number in history.published.numbers:
        small[generation_path(number)] = store.files.read(generation_path(number))
    refs, copied = set[FileRef](), 0
    for path, payload in small.items():
        ref = ref_of(path, payload)
        refs.add(ref)
        if ref.sha256 not in held:
            backup.write(ref, payload)
            held.add(ref.sha256)
            copied += 1
    for ref in sorted(needed_files(store, history.board), key=lambda each: each.path):
        refs.add(ref)
        if ref.sha256 not in held:
            backup.add(store.files, ref)
            held.add(ref.sha256)
            copied += 1
    record = BackupRecord(
        run_id=store.manifest.run_id,
        raymu_version=version("raymu"),
        made_at=datetime.now(UTC),
        generation=history.published.number,
        term=term,
        sequence=head.sequence,
        files=tuple(sorted(refs, key=lambda each: each.path)),
    )
    return record, copied


def _copy_journal(store: RunStore, out: Path) -> None:
    store.require_trusted("cluster.journal")
    is_own_file = store.config.cluster.journal is None
    if is_own_file and not store.files.exists(JOURNAL):
        raise RunInvalid(store.files.display_location, f"has lost its {JOURNAL}; restore it from an earlier backup")
    with closing(Database(journal_url(store.files, store.config), is_read_only=True)) as source:
        copy_journal(source, out, run=store.manifest.run_id, is_own_file=is_own_file)


def _history(store: RunStore, copy: Path) -> tuple[History, ChainHead, int]:
    """Return the state that follows from a copied journal, its last event and its term."""
    with closing(JournalReader(opened_copy(copy), run=store.manifest.run_id, key=store.keys.hash_key)) as journal:
        return open_history(store, journal), journal.head(), journal.term()


@contextmanager
def _temporary(payload: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="raymu-") as folder:
        file = Path(folder) / JOURNAL
        file.write_bytes(payload)
        yield file


def _require_elsewhere(store: RunStore, backup: BackupFiles) -> None:
    run, target = store.files.local, backup.files.local
    if run and target and (run.resolve() in (target.resolve(), *target.resolve().parents)):
        raise RequestInvalid(f"{backup.files.display_location} is within the run; name a folder elsewhere")
