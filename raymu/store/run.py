"""A run directory: where each kind of file lives, and how it is written and read."""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.config import Config, UnlearningConfig
from raymu.core.records import FileRef, Generation, ShardLineage
from raymu.errors import FileCorrupt, FileMissing, RunInvalid
from raymu.store.codec import seal
from raymu.store.files.concurrency import map_concurrently
from raymu.store.files.local import PARTIAL
from raymu.store.files.run_files import RunFiles
from raymu.store.generations import GenerationFiles
from raymu.store.journal.fencing import Fencing, open_journal
from raymu.store.journal.file_seal import JOURNAL
from raymu.store.journal.journal import Journal
from raymu.store.keys import RunKeys
from raymu.store.layout import MANIFEST, UNFINISHED, samples_stem, shard_folder, table_stem
from raymu.store.manifest import RunManifest, read_manifest
from raymu.store.reports import WorkReports

_CONTENT = ("samples/", "shards/")
"""Folders of files that are named by their content, and that generations refer to."""


class RunStore:
    """The files of one run. It knows paths and bytes, not models."""

    def __init__(self, location: str, files: RunFiles | None = None) -> None:
        self.location = location
        self.files = files or RunFiles(location)
        self.keys = RunKeys(self.files)
        self.generations = GenerationFiles(self.files, self.keys)
        self.reports = WorkReports(self.files, self.keys)
        self.fencing = Fencing(self.files, self.keys)

    def __reduce__(self) -> tuple[type["RunStore"], tuple[str]]:
        """What travels to another process is where the run lies, and never its keys."""
        return RunStore, (self.location,)

    def create(self, manifest: RunManifest, tables: Iterable[pa.Table] = ()) -> None:
        """Write a run with its samples, shard by shard; it is one only once all is there.

        Raises RunInvalid where something else is there already, StorageFailed.
        """
        with self._creation():
            self.keys.create()
            self._begin(
                replace(manifest, tables=tuple(self.write_table(shard, table) for shard, table in enumerate(tables)))
            )

    def branch(self, location: str, lineages: Sequence[ShardLineage], unlearning: UnlearningConfig) -> "RunStore":
        """A run of its own that begins with these states; this one stays as it is. Its journal is SQLite, beside it.

        It shares files: what this run destroys is gone only once its branches are.

        Raises RunInvalid where something is there already, FileMissing, FileCorrupt, StorageFailed.
        """
        cluster = replace(self.config.cluster, journal=None)
        config = replace(self.config, unlearning=unlearning, cluster=cluster)
        manifest = replace(
            self.manifest,
            config=config.tree(),
            run_id=uuid4().hex,
            tables=tuple(lineage.table for lineage in lineages),
        )
        branch = RunStore(location)
        with branch._creation():
            branch.keys.copy(self.keys)
            branch.files.adopt(self.files, {file for lineage in lineages for file in lineage.files})
            branch._begin(manifest)
        return branch

    @contextmanager
    def _creation(self) -> Iterator[None]:
        self.require_empty()
        self.files.write(UNFINISHED, b"")
        if self.files.keeps_versions(UNFINISHED):
            self.files.delete(UNFINISHED)
            raise RunInvalid(
                self.files.display_location,
                "lies in a bucket that keeps versions, so that what is revoked would stay readable; name another bucket, or "
                "suspend its versioning",
            )
        self.files.delete(*(path for path in self.files.walk() if path != UNFINISHED))
        yield
        self.files.delete(UNFINISHED)

    def _begin(self, manifest: RunManifest) -> None:
        self.fencing.create(open_journal(self.files, self.keys, manifest))
        self.files.write(MANIFEST, seal(manifest, self.keys.hash_key))

    def require_empty(self) -> None:
        """Raises RunInvalid where a run is, or anything but the remains of one whose creation broke off."""
        self.files.missing_folders()
        if self.files.exists(MANIFEST):
            what = "holds a run already (`raymu settle` finishes one that broke off)"
            raise RunInvalid(self.files.display_location, f"{what}; name another directory with --run")
        if not (self.files.is_empty or self._is_unfinished):
            raise RunInvalid(self.files.display_location, "is not empty; name a new directory with --run")

    @property
    def _is_unfinished(self) -> bool:
        """Whether a creation broke off here; its mark may itself be half-written, and alone."""
        there = self.files.walk()
        is_only_mark = bool(there) and all(path.startswith(f".{UNFINISHED}.") for path in there)
        return UNFINISHED in there or is_only_mark

    def remove(self, folders: Iterable[Path]) -> None:
        """Destroy the run and all that it holds. folders: that were made for it, its own first"""
        self.files.delete_all(folders)

    @cached_property
    def manifest(self) -> RunManifest:
        """Raises RunInvalid where this is no run, or one of a newer format; FileCorrupt."""
        return read_manifest(self.files, self.keys)

    @cached_property
    def config(self) -> Config:
        return Config.parse(self.manifest.config)

    def configure(self, unlearning: UnlearningConfig) -> None:
        """Change what the manifest says of unlearning; the journal says it first. Raises StorageFailed."""
        config = replace(self.config, unlearning=unlearning)
        self.manifest = replace(self.manifest, config=config.tree())
        self.config = config
        self.files.write(MANIFEST, seal(self.manifest, self.keys.hash_key))

    def take_over(self) -> tuple[Journal, int]:
        """Become the run's coordinator. returns: the journal, and the term under which this store writes from here on

        Raises RunInvalid, where its journal is older than its files too; StorageFailed.
        """
        journal = self.journal()
        return journal, self.fencing.take_over(journal)

    def journal(self, *, is_read_only: bool = False) -> Journal:
        """Raises RunInvalid, ConfigInvalid."""
        if self.config.cluster.journal is None and not self.files.exists(JOURNAL):
            raise RunInvalid(
                self.files.display_location, f"has lost its {JOURNAL}; restore it from a backup, or train anew"
            )
        return open_journal(self.files, self.keys, self.manifest, is_read_only=is_read_only)

    def write_table(self, shard: int, table: pa.Table) -> FileRef:
        """The run's own copy of a shard's samples, named by content: the same samples, the same file."""
        return self.files.write_content(table_stem(shard), ".parquet", _parquet(table))

    def restore_table(self, ref: FileRef, table: pa.Table) -> bool:
        """Write a table that was lost. returns: False, and nothing is written, where the bytes would be others"""
        payload = _parquet(table)
        is_same = hashlib.sha256(payload).hexdigest() == ref.sha256
        if is_same:
            self.files.write(ref.path, payload)
        return is_same

    def readable_tables(self, shard: int) -> Iterator[pa.Table]:
        """Every readable table of a shard that lies in the run, needed or not."""
        for name in self.files.list("samples"):
            if f"samples/{name}".startswith(f"{samples_stem(shard)}-"):
                with suppress(pa.ArrowException, OSError, ValueError):
                    source = pa.BufferReader(self.files.read(f"samples/{name}"))
                    yield pq.read_table(source, page_checksum_verification=True)

    def read_tables(self, refs: Sequence[FileRef], columns: list[str]) -> list[pa.Table]:
        """Some columns of several shards' samples, read side by side. Raises FileMissing, FileCorrupt."""
        return map_concurrently(lambda ref: self.read_table(ref, columns), refs)

    def read_table(self, ref: FileRef, columns: list[str] | None = None) -> pa.Table:
        """A shard's samples, or some of the columns. Raises FileMissing, FileCorrupt."""
        source = pa.BufferReader(self.files.read_checked(ref))
        try:
            return pq.read_table(source, columns=columns, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FileCorrupt(
                self.files.display_path(ref.path), f"not the Parquet file that was written ({error})"
            ) from error

    def write_state(self, shard: int, name: str, payload: bytes) -> FileRef:
        """Write a checkpoint or recorded updates, named by `name` and by content."""
        return self.files.write_content(f"{shard_folder(shard)}{name}", ".safetensors", payload)

    def current(self) -> Generation:
        """The generation that the journal names.

        Raises RunInvalid where this is no run, its training has not finished, or its files are not its journal's.
        """
        with closing(self.journal(is_read_only=True)) as journal:
            self.fencing.require_latest(journal)
            missing = None
            while (published := journal.published()) and published.number != missing:
                missing = published.number  # unless it was superseded, and destroyed, between asking and reading
                with suppress(FileMissing):
                    return self.generations.read(published)
        if published is None:
            raise RunInvalid(
                self.files.display_location, "has no generation yet: its training did not finish; run `raymu settle`"
            )
        raise RunInvalid(self.files.display_location, self.generations.explain_missing(published.number))

    def destroy(self, refs: Iterable[FileRef]) -> int:
        """returns: how many files were there"""
        return self.files.delete(*sorted(ref.path for ref in refs))

    def garbage(self, needed: Collection[FileRef], *, shard: int | None = None) -> list[str]:
        """Paths of samples and states that nothing needs, and of half-written files; of one shard, or of all and the run."""
        kept = {ref.path for ref in needed}
        if shard is None:
            there = self.files.walk()
        else:
            there = [path for path in self.files.walk("samples") if path.startswith(f"{samples_stem(shard)}-")]
            there += self.files.walk(shard_folder(shard))
        return [path for path in there if _is_stray(path) and path not in kept]

    def delete_garbage(self, needed: Collection[FileRef], reports: Collection[str]) -> None:
        """Destroy garbage, and the reports of other commands than these. Only while nothing is at work."""
        # What is half-written first: a superseded worker could still give it its name, and after this no more.
        self.files.delete(*self.files.partial_writes())
        self.files.delete(*self.garbage(needed))
        self.reports.delete_except(reports)

    def delete_shard_garbage(self, needed: Collection[FileRef], reports: Collection[str], shard: int) -> None:
        """Destroy one shard's garbage, and its reports of other commands than these, while it is not at work."""
        self.delete_partial_writes(shard)
        self.files.delete(*self.garbage(needed, shard=shard))
        self.reports.delete_except(reports, shard=shard)

    def delete_partial_writes(self, shard: int) -> None:
        """Destroy what a lost worker did not finish writing, while the shard is not at work."""
        is_own = re.compile(rf"{shard_folder(shard)}|(samples|reports)/\.([a-z]+-)?{shard:04d}\b")
        folders = (shard_folder(shard), "samples", "reports")
        partial_writes = (path for folder in folders for path in self.files.partial_writes(folder))
        self.files.delete(*filter(is_own.match, partial_writes))


def _is_stray(path: str) -> bool:
    return path.startswith(_CONTENT) or path.endswith(PARTIAL) or path == UNFINISHED


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload
