"""A run directory as a whole: its manifest, its states, the generation it serves, and taking it over."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Literal

from raymu.config import Config, UnlearningConfig
from raymu.core.events import GenerationPublished
from raymu.core.records import FileRef, Generation, SampleFiles
from raymu.core.trust import EVERYTHING, Trust
from raymu.errors import FileCorrupt, FileMissing, RunInvalid
from raymu.store.codec import seal
from raymu.store.files.run_files import RunFiles
from raymu.store.garbage import GarbageFiles
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
    shard_folder,
)
from raymu.store.manifest import RunManifest, read_manifest
from raymu.store.presence import Presence, PresenceFile
from raymu.store.reports import WorkReports
from raymu.store.stored_samples import StoredSamples, routes_writer
from raymu.store.verdicts import VerdictFiles

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
        self.garbage = GarbageFiles(self.files, self.reports)
        self.fencing = Fencing(self.files, self.keys)
        self.presence = PresenceFile(self.files, self.keys)
        self.verdicts = VerdictFiles(self.files, self.keys)

    def __reduce__(self) -> tuple[Callable[..., "RunStore"], tuple[()]]:
        """Pickle the location and the trust alone, so that keys never travel to another process."""
        return partial(RunStore, self.location, trust=self.trust), ()

    @property
    def shared_files(self) -> frozenset[FileRef]:
        """The files that all shards share: of base weights, of samples to validate on, and of routes."""
        return frozenset(filter(None, [self.manifest.base, self.manifest.held_out, *(self.manifest.routes or ())]))

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
