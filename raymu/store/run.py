"""A run directory: where each kind of file lives, and the manifest that says what the run is."""

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sql

from raymu.config import Config
from raymu.core.receipt import Receipt
from raymu.core.records import FileRef, Generation, RepairReport, SampleId
from raymu.errors import FileCorrupt, FileMissing, RunInvalid
from raymu.store.codec import from_json, to_json
from raymu.store.files import RunFiles
from raymu.store.journal import Journal

FORMAT = 1
_MANIFEST, _KEY, _JOURNAL = "run.json", "hash.key", "journal.sqlite"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunManifest:
    """What a run is, fixed when it is created. config: the settings as plain JSON values"""

    config: Mapping[str, Any]
    input_shape: tuple[int, ...]
    classes: int
    has_integer_ids: bool
    created_at: datetime
    raymu_version: str
    format: int = FORMAT
    kind: Literal["raymu run"] = field(default="raymu run")


class RunStore:
    """The files of one run. It knows paths and bytes, not models."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.files = RunFiles(location)

    def create(self, manifest: RunManifest) -> None:
        """Begin a run in an empty place. Raises RunInvalid where something is there already."""
        self.require_empty()
        self.files.write(_KEY, secrets.token_bytes(32), mode=0o600)
        self.files.write(_MANIFEST, to_json(manifest))

    def require_empty(self) -> None:
        if self.files.exists(_MANIFEST):
            raise RunInvalid(self.location, "holds a run already; name another directory with --run")
        if not self.files.is_empty:
            raise RunInvalid(self.location, "is not empty; name a new directory with --run")

    def remove(self) -> None:
        """Destroy the run and all that it holds."""
        self.files.delete_all()

    @cached_property
    def manifest(self) -> RunManifest:
        """Raises RunInvalid where this is no run, or one of a newer format."""
        try:
            payload = self.files.read(_MANIFEST)
        except FileMissing:
            raise RunInvalid(
                self.location, "is not a run: it has no run.json; name a directory made by `raymu train`"
            ) from None
        found = from_json(dict[str, Any], payload, source=f"{self.location}/{_MANIFEST}")
        if found.get("kind") != "raymu run":
            raise RunInvalid(self.location, "is not a run of raymu: its run.json is of something else")
        written = found.get("format")
        if isinstance(written, int) and written > FORMAT:
            raise RunInvalid(self.location, f"was written by a newer raymu (format {written}); update raymu")
        manifest: RunManifest = from_json(RunManifest, payload, source=f"{self.location}/{_MANIFEST}")
        return manifest

    @cached_property
    def config(self) -> Config:
        return Config.parse(self.manifest.config)

    @cached_property
    def hash_key(self) -> bytes:
        """The key of the hashes that stand for purged ids; without it they say nothing."""
        return self.files.read(_KEY)

    def journal(self) -> Journal:
        url = self.config.cluster.journal
        if url is not None:
            return Journal(url)
        if self.files.local is None:
            raise RunInvalid(
                self.location, "is no local disk, which SQLite needs; set cluster.journal to a database URL"
            )
        return Journal(sql.URL.create("sqlite", database=str(self.files.local / _JOURNAL)))

    def write_samples(self, shard: int, table: pa.Table) -> FileRef:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        return self.files.write(_samples_path(shard), sink.getvalue().to_pybytes())

    def read_samples(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """A shard's samples, or some of the columns. Raises FileMissing, FileCorrupt."""
        path = _samples_path(shard)
        source = pa.BufferReader(self.files.read(path))
        try:
            return pq.read_table(source, columns=columns, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FileCorrupt(f"{self.location}/{path}", f"not the Parquet file that was written ({error})") from error

    def drop_samples(self, shard: int, sample_ids: Collection[SampleId]) -> int:
        """Rewrite a shard's samples without these. returns: how many were there"""
        table = self.read_samples(shard)
        is_dropped = pc.is_in(table["id"], value_set=pa.array(list(sample_ids), type=table["id"].type))
        kept = table.filter(pc.invert(is_dropped))
        if kept.num_rows < table.num_rows:
            self.write_samples(shard, kept)
        return int(table.num_rows - kept.num_rows)

    def write_state(self, shard: int, name: str, payload: bytes) -> FileRef:
        """Write a checkpoint or recorded updates, named by `name` and by content: the same bytes, the same file."""
        digest = hashlib.sha256(payload).hexdigest()[:16]
        return self.files.write(f"shards/{shard:04d}/{name}-{digest}.safetensors", payload)

    def publish(self, generation: Generation) -> FileRef:
        """Make a generation the current one: the highest number that is there. Atomic."""
        return self.files.write(_generation_path(generation.number), to_json(generation))

    def current(self) -> Generation:
        """Raises RunInvalid where this is no run, or its training has not finished."""
        _ = self.manifest  # refuses what is no run at all
        for _ in range(3):  # a generation may be superseded and destroyed between listing and reading
            names = self.files.list("generations")
            if not names:
                raise RunInvalid(self.location, "has no generation yet: its training did not finish; train anew")
            try:
                return self._generation(int(names[-1].removesuffix(".json")))
            except FileMissing:
                continue
        raise RunInvalid(self.location, "changes faster than it can be read; try again")

    def _generation(self, number: int) -> Generation:
        path = _generation_path(number)
        generation: Generation = from_json(Generation, self.files.read(path), source=f"{self.location}/{path}")
        return generation

    def drop_generations_before(self, number: int) -> None:
        for name in self.files.list("generations"):
            if int(name.removesuffix(".json")) < number:
                self.files.delete(f"generations/{name}")

    def write_report(self, report: RepairReport) -> None:
        self.files.write(f"reports/{report.command_id}.json", to_json(report))

    def find_report(self, command_id: str) -> RepairReport | None:
        """The report of a command that ran already; its first reply may have been lost."""
        path = f"reports/{command_id}.json"
        try:
            payload = self.files.read(path)
        except FileMissing:
            return None
        report: RepairReport = from_json(RepairReport, payload, source=f"{self.location}/{path}")
        return report

    def drop_report(self, command_id: str) -> None:
        """Once the journal has it."""
        self.files.delete(f"reports/{command_id}.json")

    def write_receipt(self, receipt: Receipt) -> None:
        self.files.write(f"receipts/{receipt.request_id}.json", to_json(receipt))

    def destroy(self, refs: Iterable[FileRef]) -> int:
        """returns: how many files were there"""
        return sum(self.files.delete(ref.path) for ref in sorted(refs, key=lambda ref: ref.path))


def _samples_path(shard: int) -> str:
    return f"samples/shard-{shard:04d}.parquet"


def _generation_path(number: int) -> str:
    return f"generations/{number:08d}.json"
