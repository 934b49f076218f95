"""A run directory as a whole: creating it, taking it over, and its manifest, states and garbage."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pyarrow as pa

from raymu.config import Config, UnlearningConfig
from raymu.core.events import GenerationPublished
from raymu.core.records import FileRef, Generation, SampleFiles, ShardLineage
from raymu.core.trust import EVERYTHING, Trust
from raymu.data.shard_index import COLUMNS as INDEXED
from raymu.data.shard_rows import ShardRows
from raymu.errors import FileCorrupt, FileMissing, RunInvalid
from raymu.store.codec import seal
from raymu.store.files.run_files import RunFiles
from raymu.store.finished_shard import FinishedShard
from raymu.store.generations import GenerationFiles, generation_path
from raymu.store.journal.event_chain import ChainHead
from raymu.store.journal.fencing import Fencing, open_journal
from raymu.store.journal.file_seal import JOURNAL, matches_seal
from raymu.store.journal.journal import Journal
from raymu.store.journal.process_lock import ProcessLock
from raymu.store.keys import PUBLIC_KEY, RunKeys
from raymu.store.layout import (
    MANIFEST,
    TERM,
    UNFINISHED,
    is_partial,
    kind_of,
    samples_stem,
    shard_folder,
)
from raymu.store.manifest import RunManifest, read_manifest
from raymu.store.presence import Presence, PresenceFile
from raymu.store.reports import WorkReports
from raymu.store.stored_samples import StoredSamples, routes_writer
from raymu.store.table_format import table_bytes
from raymu.store.verdicts import VerdictFiles

_CONTENT = frozenset({"samples", "sample index", "routes", "checkpoint", "updates", "patched state"})
"""Kinds of files that are named by their content, and that generations refer to."""

MOST_HASHED_ON_OPENING = 64 * 2**20
"""Bytes of the closed journal up to which every coordinator compares its hash; only `verify` hashes a longer one."""

_ROOM = 64 * 1024
"""Bytes that a storage must still take before a request is accepted: about a rewound generation, and its events."""


class RunStore:
    """The files of one run, as paths and bytes."""

    def __init__(self, location: str, files: RunFiles | None = None, *, trust: Trust = EVERYTHING) -> None:
        """Name a run.

        Args:
            location: A path or a URI.
            files: The files at the location, if tests replace them.
            trust: The demands of the run that are followed. Whoever opens a run for a user passes the user's.
        """
        self.location, self.trust = location, trust
        self.files = files or RunFiles(location)
        self.keys = RunKeys(self.files)
        self.generations = GenerationFiles(self.files, self.keys)
        self.reports = WorkReports(self.files, self.keys)
        self.fencing = Fencing(self.files, self.keys)
        self.presence = PresenceFile(self.files, self.keys)
        self.verdicts = VerdictFiles(self.files, self.keys)

    def __reduce__(self) -> tuple[Callable[..., "RunStore"], tuple[()]]:
        """Pickle the location and the trust alone, so that keys never travel to another process."""
        return partial(RunStore, self.location, trust=self.trust), ()

    def create(
        self,
        manifest: RunManifest,
        shards: Iterable[FinishedShard] = (),
        *,
        held_out: pa.Table | None = None,
        base: bytes | None = None,
        is_begun: bool = False,
    ) -> None:
        """Write a new run. The manifest comes last, because it makes the directory a run.

        Args:
            manifest: What the run is. The names of files are added.
            shards: The shards, whose files are written: by this iterable, in any order, before it yields one.
            held_out: The samples that every shard is validated on, if the run has any.
            base: The weights that all shards begin with, if the run has any.
            is_begun: Whether `begin` was called for it.

        Raises RunInvalid if something else exists there, StorageFailed.
        """
        if not is_begun:
            self.begin()
        config, written, routes = Config.parse(manifest.config), dict[int, SampleFiles](), list[FileRef]()
        samples = StoredSamples(self.files, config)
        routing = routes_writer(config, self.keys.hash_key)
        for finished in shards:
            written[finished.shard] = finished.files
            for part in routing.add(finished.shard, finished.routed) if routing and finished.routed is not None else ():
                routes += samples.write_routes(part)
        routes += samples.write_routes(routing.routes()) if routing else ()
        copies = [written[shard] for shard in range(len(written))]
        own = None if held_out is None else self.files.write_content("held-out", ".parquet", table_bytes(held_out))
        weights = None if base is None else self.files.write_content("base", ".safetensors", base)
        self._finish_creation(
            replace(
                manifest,
                tables=tuple(files.table for files in copies),
                indexes=tuple(files.index for files in copies),
                routes=tuple(routes) if copies else None,
                held_out=own,
                base=weights,
            )
        )

    def begin(self) -> None:
        """Mark the directory as that of a run which is being created, without the remains of an earlier try, and make keys.

        Raises RunInvalid if something else exists there, StorageFailed.
        """
        self.claim()
        self.keys.create()

    def finish_shard(self, shard: int, rows: ShardRows | pa.Table, config: Config) -> FinishedShard:
        """Write the samples of a shard of a run that was begun. Raises StorageFailed.

        Args:
            shard: The shard.
            rows: Its samples, or its table.
            config: The settings of the run.
        """
        samples, routing = StoredSamples(self.files, config), routes_writer(config, self.keys.hash_key)
        if isinstance(rows, pa.Table):
            indexed, files = rows, samples.write(shard, rows)
        else:
            indexed = rows.select(INDEXED)
            files = samples.write_placed(shard, rows)
        return FinishedShard(shard=shard, files=files, routed=None if routing is None else routing.hashes_of(indexed))

    def branch(self, location: str, lineages: Sequence[ShardLineage], unlearning: UnlearningConfig) -> "RunStore":
        """Create another run that begins with these states, and has its journal in SQLite.

        The two runs share files: what this run destroys stays readable until its branches are removed.

        Args:
            location: Where the new run is to be.
            lineages: One state for each shard.
            unlearning: The settings of the new run.

        Raises RunInvalid if something exists there, FileMissing, FileCorrupt, StorageFailed.
        """
        cluster = replace(self.config.cluster, journal=None)
        # What is tried on a branch is not revoked for the other runs.
        config = replace(self.config, unlearning=unlearning, cluster=cluster, registry=None)
        manifest = replace(
            self.manifest,
            config=config.tree(),
            run_id=uuid4().hex,
            tables=tuple(lineage.table for lineage in lineages),
            indexes=tuple(lineage.index for lineage in lineages),
            # The routes of extensions are in this run's journal, which the branch does not have.
            routes=None if any(lineage.added_epochs for lineage in lineages) else self.manifest.routes,
        )
        branch = RunStore(location, trust=self.trust)
        branch.claim()
        branch.keys.copy(self.keys)
        branch.files.adopt(self.files, {*self.shared_files, *(file for lineage in lineages for file in lineage.files)})
        branch._finish_creation(manifest)
        return branch

    def claim(self, note: bytes = b"") -> None:
        """Mark the directory as that of a run which is being created. Raises as `begin`.

        Args:
            note: What the mark says of it, for whoever goes on after a crash.
        """
        self.require_empty()
        self.files.write(UNFINISHED, note)
        if self.files.keeps_versions(UNFINISHED):
            self.files.delete(UNFINISHED)
            raise RunInvalid(
                self.files.display_location,
                "is in a bucket that keeps versions, so that revoked samples would stay readable; name another bucket, or "
                "suspend its versioning",
            )
        self.files.delete(*(path for path in self.files.walk() if path != UNFINISHED))  # all of them of the layout

    def _finish_creation(self, manifest: RunManifest) -> None:
        manifest = replace(manifest, public_key=self.keys.public_key.hex())
        self.fencing.create(open_journal(self.files, self.keys, manifest))
        self.files.write(MANIFEST, seal(manifest, self.keys.hash_key))
        self.files.delete(UNFINISHED)

    def require_empty(self) -> None:
        """Raise RunInvalid unless the location is empty, or contains only the remains of an interrupted creation."""
        self.files.missing_folders()
        if self.files.exists(MANIFEST):
            problem = "holds a run already (`raymu settle` finishes an interrupted one)"
            raise RunInvalid(self.files.display_location, f"{problem}; name another directory")
        if not (self.files.is_empty or self._is_unfinished):
            raise RunInvalid(self.files.display_location, "is not empty; name a new directory")

    @property
    def shared_files(self) -> frozenset[FileRef]:
        """The files that all shards share: of base weights, of samples to validate on, and of routes."""
        return frozenset(filter(None, [self.manifest.base, self.manifest.held_out, *(self.manifest.routes or ())]))

    @property
    def _is_unfinished(self) -> bool:
        """True after an interrupted creation, which may have written its mark only in part."""
        paths = self.files.walk()
        is_only_mark = bool(paths) and all(path.startswith(f".{UNFINISHED}.") for path in paths)
        is_own = not self.files.irregular() and all(kind_of(path) or is_partial(path) for path in paths)
        return is_own and (UNFINISHED in paths or is_only_mark)

    def remove(self, folders: Iterable[Path]) -> None:
        """Destroy all files of the run, and those of the folders that are empty then. Raises StorageFailed."""
        self.files.delete_all(folders, is_own=lambda path: kind_of(path) is not None or is_partial(path))

    @cached_property
    def manifest(self) -> RunManifest:
        """The run's manifest. Raises RunInvalid if there is no run, or one of a newer format. Raises FileCorrupt."""
        return read_manifest(self.files, self.keys)

    @cached_property
    def config(self) -> Config:
        """The settings of the run."""
        return Config.parse(self.manifest.config)

    @cached_property
    def samples(self) -> StoredSamples:
        """The samples of the run's shards."""
        return StoredSamples(self.files, self.config)

    def require_trusted(self, *settings: str) -> None:
        """Raise RunUntrusted if one of these settings, or of those below them, makes a demand that is not trusted."""
        self.trust.require(self.files.display_location, self.config, *settings)

    def data_file(self, part: Literal["train", "test"]) -> str | None:
        """Return the location of the run's training or test files. Raises RunUntrusted if it is elsewhere and not trusted."""
        self.require_trusted(f"data.{part}")
        return self.config.data.train if part == "train" else self.config.data.test

    def configure(self, unlearning: UnlearningConfig) -> None:
        """Write other unlearning settings into the manifest, after the journal has them. Raises StorageFailed."""
        config = replace(self.config, unlearning=unlearning)
        self._rewrite_manifest(replace(self.manifest, config=config.tree()))
        self.config = config

    def _rewrite_manifest(self, manifest: RunManifest) -> None:
        self.manifest = manifest
        self.files.write(MANIFEST, seal(manifest, self.keys.hash_key))

    def take_over(self) -> tuple[Journal, int]:
        """Become the coordinator of the run. Returns the open journal, and the term under which this store now writes.

        Raises:
            RunInvalid: The journal is missing, or older than the files of the run.
            FileCorrupt: The journal or the signing key was changed since a coordinator closed the run. Nothing is written.
            StorageFailed: The journal or the file of the term cannot be written.
        """
        journal = self.journal()
        try:
            self.require_bound_key()
            self.require_closed_as_found(journal)
        except BaseException:
            journal.close()
            raise
        return journal, self.fencing.take_over(journal)

    def process_lock(self) -> ProcessLock:
        """Return the lock of the process that works on the run. Raises RunInvalid, FileCorrupt, RunUntrusted."""
        self.require_trusted("cluster.journal")
        return ProcessLock(self.files, self.manifest)

    def position(self) -> tuple[int, ChainHead]:
        """Return the journal's term and last event, which change with every write. Raises RunInvalid."""
        with closing(self.journal(is_read_only=True)) as journal:
            return journal.position()

    def activity(self) -> tuple[int, ChainHead, Presence | None]:
        """Return what changes while a process works on the run, also without an event, as in training. Raises RunInvalid."""
        return *self.position(), self.presence.read()

    def require_closed_as_found(self, journal: Journal) -> None:
        """Raise FileCorrupt, FileMissing or RunInvalid if the journal was changed by anyone but a coordinator.

        Whoever extends a journal seals it again, which would hide the change for ever. Reading the events checks their
        chain.
        """
        if irregular := self.files.irregular():
            raise RunInvalid(
                self.files.display_location,
                f"has {irregular[0]!r}, which is a link or no file; raymu follows none: remove it, or put a file there",
            )
        self.fencing.require_latest(journal)
        journal.require_own_schema()
        term, head = journal.position()
        if self.fencing.term() < term and not self._is_behind(journal):
            raise FileCorrupt(
                "the journal",
                f"it has term {term}, and {TERM}, which a takeover writes first, has {self.fencing.term()}",
            )
        if self.config.cluster.journal is None:
            is_sealed = matches_seal(
                self.files, self.keys, term=term, sequence=head.sequence, most_bytes=MOST_HASHED_ON_OPENING
            )
            if is_sealed is False:  # None: a coordinator has it open, or was interrupted
                raise FileCorrupt(self.files.display_path(JOURNAL), "it is not the file that its coordinator closed")

    def _is_behind(self, journal: Journal) -> bool:
        """Return whether the files are an old copy, which a coordinator brings up to the journal's state."""
        published = journal.published()
        return published is not None and self.generations.is_behind(published.number)

    def require_bound_key(self) -> None:
        """Raise FileCorrupt if the key of the receipts is not the one that the manifest names."""
        bound = self.manifest.public_key
        if bound is not None and bound != self.keys.public_key.hex():
            raise FileCorrupt(self.files.display_path(PUBLIC_KEY), f"not the key that {MANIFEST} names")

    def bind_key(self) -> None:
        """Write the key of the receipts into the manifest of a run that version 0.1 made. Raises StorageFailed."""
        if self.manifest.public_key is None:
            self._rewrite_manifest(replace(self.manifest, public_key=self.keys.public_key.hex()))

    def journal(self, *, is_read_only: bool = False) -> Journal:
        """Open the journal. Raises RunInvalid, ConfigInvalid; RunUntrusted before it connects to a database."""
        self.require_trusted("cluster.journal")
        if self.config.cluster.journal is None and not self.files.exists(JOURNAL):
            raise RunInvalid(
                self.files.display_location, f"has lost its {JOURNAL}; restore it from a backup, or train anew"
            )
        return open_journal(self.files, self.keys, self.manifest, is_read_only=is_read_only)

    def needs_routes(self, added: Sequence[tuple[FileRef, ...] | None]) -> bool:
        """Return whether samples have homes that nothing says, because an earlier version wrote no routes to them.

        Args:
            added: The routes of each extension, from the journal.
        """
        return self.config.data.owner is not None and self.manifest.routes_with(added) is None

    def make_routes(self, samples: Sequence[SampleFiles], *, extensions: int) -> None:
        """Make the run's routes again from its tables, and name them in the manifest.

        Args:
            samples: The current samples of each shard.
            extensions: The number of extensions of the run.

        Raises FileMissing, FileCorrupt, StorageFailed.
        """
        routing, routes = routes_writer(self.config, self.keys.hash_key), list[FileRef]()
        if routing is None:
            return
        for shard, files in enumerate(samples):
            for part in routing.add(shard, routing.hashes_of(self.samples.read_table(files.table, ["id", "owner"]))):
                routes += self.samples.write_routes(part)
        routes += self.samples.write_routes(routing.routes())
        self._rewrite_manifest(replace(self.manifest, routes=tuple(routes), routed_extensions=extensions))

    def write_state(self, shard: int, name: str, payload: bytes) -> FileRef:
        """Write a checkpoint or recorded updates under `name` and a hash of the content. Raises StorageFailed."""
        return self.files.write_content(f"{shard_folder(shard)}{name}", ".safetensors", payload)

    def current(self) -> Generation:
        """Return the generation that predictions are made from.

        Raises RunInvalid if there is no run, its training has not finished, or its files do not belong to its journal.
        """
        with closing(self.journal(is_read_only=True)) as journal:
            self.fencing.require_latest(journal)
            missing = None
            while (published := journal.published()) and published.number != missing:
                missing = published.number  # unless it was destroyed after the journal was read
                with suppress(FileMissing):
                    return self.generations.read(published)
        raise self._not_served(published)

    def require_published(self) -> None:
        """Check that `current` has a generation to read. Its files are looked for, and not read.

        Raises RunInvalid as `current`.
        """
        with closing(self.journal(is_read_only=True)) as journal:
            self.fencing.require_latest(journal)
            missing = None
            while (published := journal.published()) and published.number != missing:
                if set(published.numbers).issubset(self.generations.numbers):
                    return
                missing = published.number  # unless it was destroyed after the journal was read
        raise self._not_served(published)

    def _not_served(self, published: GenerationPublished | None) -> RunInvalid:
        """Return the error for a run of which no generation can be served. published: the last one"""
        problem = self._why_untrained() if published is None else self.generations.explain_missing(published)
        return RunInvalid(self.files.display_location, problem)

    def _why_untrained(self) -> str:
        if (trainer := self.presence.read()) and not trainer.is_ended:
            return f"is being trained (by {trainer}); it has no generation before that ends"
        return "has no generation yet: its training did not finish; run `raymu settle`"

    def require_ready(self) -> None:
        """Check all that carrying a request out to the end takes from the run, before the request is accepted.

        The keys are read anew: a coordinator that goes on after a crash has to read them too.

        Raises:
            FileMissing: A key is missing.
            FileCorrupt: A key is not the one that was written.
            StorageFailed: The storage is full, or read-only.
        """
        keys = RunKeys(self.files)

        def check_hash_key() -> None:
            if keys.hash_key != self.keys.hash_key:
                raise FileCorrupt(self.files.display_path("hash.key"), "not the key that the run was opened with")

        checks: list[Callable[[], object]] = [
            check_hash_key,
            lambda: keys.public_key,
            lambda: keys.signing_key,
            lambda: self.files.try_to_write("generations", _ROOM),
        ]
        self.files.together(*checks)

    def destroy(self, refs: Iterable[FileRef], *, generations: Iterable[int] = ()) -> int:
        """Destroy files, and those of generations, durably. Returns how many existed. Raises StorageFailed."""
        return self.files.delete(*sorted(ref.path for ref in refs), *map(generation_path, sorted(generations)))

    def garbage(self, needed: Collection[FileRef], *, shard: int | None = None) -> list[str]:
        """Return the paths of samples and states that nothing needs, and of partly written files.

        Args:
            needed: The files that something refers to.
            shard: Shard whose files are examined. None examines all files of the run.
        """
        kept = {ref.path for ref in needed}
        if shard is None:
            paths = self.files.walk()
        else:
            paths = [path for path in self.files.walk("samples") if path.startswith(f"{samples_stem(shard)}-")]
            paths += self.files.walk(shard_folder(shard))
        return [path for path in paths if _can_be_garbage(path) and path not in kept]

    def delete_garbage(self, needed: Collection[FileRef], reports: Collection[str]) -> None:
        """Destroy garbage, and the reports of all commands but these. Only while no repair is running."""
        # Partly written files first: afterwards a superseded worker can no longer rename one.
        self.files.delete(*filter(is_partial, self.files.partial_writes()))
        self.files.delete(*self.garbage(needed))
        self.reports.delete_except(reports)

    def delete_shard_garbage(self, needed: Collection[FileRef], reports: Collection[str], shard: int) -> None:
        """Destroy the garbage of one shard, and its reports of all commands but these, while no repair of it is running."""
        self.delete_partial_writes(shard)
        self.files.delete(*self.garbage(needed, shard=shard))
        self.reports.delete_except(reports, shard=shard)

    def delete_partial_writes(self, shard: int) -> None:
        """Destroy files that a lost worker did not finish writing, while no repair of the shard is running."""
        of_shard = re.compile(rf"{shard_folder(shard)}|(samples|reports)/\.([a-z]+-)?{shard:04d}\b")
        folders = (shard_folder(shard), "samples", "reports")
        partial_writes = (path for folder in folders for path in self.files.partial_writes(folder))
        self.files.delete(*(path for path in partial_writes if of_shard.match(path) and is_partial(path)))


def _can_be_garbage(path: str) -> bool:
    """Return whether a file can be deleted where nothing needs it. A file that raymu never writes is the user's."""
    return kind_of(path) in _CONTENT or is_partial(path) or path == UNFINISHED
