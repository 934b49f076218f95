"""A run on disk, compared with what it must be after any sequence of events."""

import sqlite3
from collections import Counter
from contextlib import closing
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, ShardRepaired
from raymu.core.receipts import Receipts
from raymu.core.records import FileRef, Generation, SampleId, ShardState
from raymu.core.run_shape import RunShape
from raymu.store.codec import from_json
from raymu.store.layout import kind_of
from raymu.store.run import RunStore
from tests.system.model.templates import ModelSample, trained_on
from tests.system.model.traced_training import stages_of

Samples = frozenset[ModelSample]
STATES = ("checkpoint", "updates", "patched state")


class ObservedRun:
    """Reads every file, and the new events of the journal, at each check."""

    def __init__(self, location: Path, samples: tuple[ModelSample, ...]) -> None:
        self._location, self._store = location, RunStore(str(location))
        self._config = self._store.config
        self.board = RevocationBoard(RunShape.of(self._config), workers=1)
        self.book = Receipts()
        self.samples = samples
        self._by_hash = {sample.keyed: sample for sample in samples}
        self.events: list[Event] = []
        self.accepted: dict[str, Samples] = {}
        self.past: dict[int, set[str]] = {shard: set() for shard in range(self._config.partition.shards)}
        self.published_past = self.past  # when the served generation was published
        self.purged: set[str] = set()
        self.files: dict[str, bytes] = {}

    def look(self) -> None:
        for path, payload in self._new_events():
            event: Event = from_json(Event, payload, source=path)
            self.events.append(event)
            self.board.handle(event)
            self.book.handle(event)
            match event:
                case RevocationsAccepted(requests=requests):
                    for request in requests:
                        named = (self._by_hash.get(hashed) for hashed in request.hashes)
                        self.accepted[request.request_id] = frozenset(sample for sample in named if sample)
                case GenerationPublished():
                    self.published_past = {shard: set(past) for shard, past in self.past.items()}
                case ShardRepaired(report=report):
                    self.past[report.shard].update(report.request_ids)
                case RequestsPurged(request_ids=request_ids):
                    self.purged.update(request_ids)
        self.files = read_files(self._location)

    def _new_events(self) -> list[tuple[str, str]]:
        query = "SELECT sequence, payload FROM events WHERE sequence > ? ORDER BY sequence"
        with closing(sqlite3.connect(f"file:{self._location}/journal.sqlite?mode=ro", uri=True)) as connection:
            rows = connection.execute(query, (len(self.events),)).fetchall()
        return [(f"event {sequence}", payload) for sequence, payload in rows]

    @property
    def revoked(self) -> Samples:
        """The samples of every accepted request."""
        return self.samples_of(self.accepted)

    def samples_of(self, request_ids: "set[str] | dict[str, Samples]") -> Samples:
        return frozenset[ModelSample]().union(*(self.accepted[request_id] for request_id in request_ids))

    def retained(self, shard: int, past: dict[int, set[str]]) -> Samples:
        """The samples of a shard after these requests."""
        own = {sample for sample in self.samples if sample.shard == shard}
        return frozenset(own - self.samples_of(past[shard]))

    @property
    def published(self) -> GenerationPublished | None:
        return next((event for event in reversed(self.events) if isinstance(event, GenerationPublished)), None)

    @property
    def is_idle(self) -> bool:
        """Whether no work is left, except to settle patched shards."""
        return self.published is not None and self.board.is_idle

    @property
    def is_to_publish(self) -> bool:
        return any(isinstance(command, PublishGeneration) for command in self.board.pending_commands())

    @property
    def generation(self) -> Generation | None:
        """The served generation, checked as every reader checks it."""
        return self._store.generations.read(self.published) if self.published else None

    def check_requests(self) -> None:
        """No request is carried out twice, and no sample is removed by two requests."""
        named = Counter(sample for samples in self.accepted.values() for sample in samples)
        assert max(named.values(), default=1) == 1
        repaired = [
            (event.report.shard, request_id)
            for event in self.events
            if isinstance(event, ShardRepaired)
            for request_id in event.report.request_ids
        ]
        published = [event for event in self.events if isinstance(event, GenerationPublished)]
        purged = [
            request_id for event in self.events if isinstance(event, RequestsPurged) for request_id in event.request_ids
        ]
        for request_ids in (
            repaired,
            [request_id for event in published for request_id in event.repaired],
            [request_id for event in published for request_id in event.settled],
            purged,
        ):
            assert len(request_ids) == len(set(request_ids))
        for request_id in purged:
            shards = {sample.shard for sample in self.accepted[request_id]}
            assert all(request_id in self.past[shard] for shard in shards)

    def check_served(self) -> None:
        """The generation is complete, and its lineage has no revoked sample."""
        generation = self.generation
        if generation is None:
            return
        for lineage, constituent in zip(generation.lineages, generation.constituents, strict=True):
            assert all(self.is_sound(ref) for ref in lineage.files)
            if constituent.checkpoint is None:
                continue
            stages = stages_of(self.files[constituent.checkpoint.file.path])
            assert len(stages) == constituent.stages_trained
            seen = {identity for stage in stages for identity in stage}
            is_kept = self._config.unlearning.on_accept == "keep" or self.is_to_publish
            revoked = self.samples_of(self.published_past[lineage.shard]) if is_kept else self.revoked
            assert seen.isdisjoint(sample.identity for sample in revoked), constituent.state
            if constituent.state is not ShardState.APPROXIMATE:
                retained = self.retained(lineage.shard, self.published_past)
                assert stages == trained_on(retained, shard=lineage.shard)[: constituent.stages_trained]

    def check_lineages(self) -> None:
        """After any sequence of events, a shard has what training from scratch without the revoked samples gives.

        A file whose damage every reader detects is skipped.
        """
        for lineage in self.board.lineages:
            retained = self.retained(lineage.shard, self.past)
            scratch = trained_on(retained, shard=lineage.shard)
            if self.is_sound(lineage.table):
                assert ids_in(self.files[lineage.table.path]) == {sample.sample_id for sample in retained}
            for stage, checkpoint in enumerate(lineage.checkpoints):
                if checkpoint and self.is_sound(checkpoint.file):
                    assert stages_of(self.files[checkpoint.file.path]) == scratch[: stage + 1]
            if not lineage.debts:
                assert lineage.serving == lineage.checkpoints[-1]

    def is_sound(self, ref: FileRef) -> bool:
        return sha256(self.files.get(ref.path, b"")).hexdigest() == ref.sha256

    def check_purged(self) -> None:
        """No sample of a purged request can be read in samples and states on disk, including half-written files."""
        purged = self.samples_of(self.purged)
        ids = {sample.sample_id for sample in purged}
        identities = [str(sample.identity).encode() for sample in purged]
        for path, payload in self.files.items():
            if path.startswith("samples/"):
                assert not ids & ids_in(payload), path
            elif path.startswith("shards/"):
                assert not any(identity in payload for identity in identities), path

    def check_raw_ids(self) -> None:
        """No file contains the raw id of a purged request."""
        for sample in self.samples_of(self.purged):
            marker = str(sample.sample_id).encode()
            assert not [path for path, payload in self.files.items() if marker in payload]

    def check_leftovers(self) -> None:
        """A run without work contains the files that it needs, and no others."""
        needed = {file.path for lineage in self.board.lineages for file in lineage.files}
        number = self.published.number if self.published else 0
        for path in self.files:
            kind = kind_of(path)
            assert kind is not None, path
            assert path in needed or kind not in ("samples", "report", "partial report", *STATES), path
            assert kind != "generation" or path == f"generations/{number:08d}.json", path


def read_files(location: Path) -> dict[str, bytes]:
    """Return every file of a run by its path within the run, except SQLite's index of its log."""
    return {
        str(path.relative_to(location)): path.read_bytes()
        for path in sorted(location.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


@lru_cache(4096)
def ids_in(payload: bytes) -> frozenset[SampleId]:
    """Return the ids of a table, or none if the file is incomplete."""
    try:
        return frozenset(pq.read_table(pa.BufferReader(payload), columns=["id"])["id"].to_pylist())
    except (pa.ArrowException, OSError):
        return frozenset()
