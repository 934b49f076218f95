"""What workers of an ingest do: place parts of a table, find repeated keys, and write the samples of a shard.

What a task returns is sealed with a key of the run. Ray would keep the text of an error that is raised, so errors are
returned, sealed.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from raymu.config import Config
from raymu.core.trust import EVERYTHING
from raymu.core.uri import redacted
from raymu.errors import RaymuError, RunInvalid
from raymu.runtime.messages import Failure, pickled
from raymu.runtime.nodes import node_names
from raymu.service.held_out import shared_ids
from raymu.service.placed_facts import HEAD_ROWS, PlacedFacts
from raymu.service.placement import PlacedBatch, Placement, place_batch
from raymu.service.sealed_parts import SEALED, SHARD, RecordSeal, key_records, open_repeated, open_rows, row_records
from raymu.service.shard_tables import write_shard
from raymu.store.finished_shard import FinishedShard
from raymu.store.keys import RunKeys
from raymu.store.run import RunStore
from raymu.training.row_checks import PROBE_SAMPLES


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlacedPart:
    """What the driver learns of a part."""

    facts: PlacedBatch
    row_bytes: int
    """Sealed bytes of its rows."""
    schema: pa.Schema | None
    """The columns of placed rows; None if something is wrong with the part."""


@lru_cache(maxsize=1)
def _run_at(location: str) -> RunStore:
    """Return a run that is being created. Raises RunInvalid if this node cannot open it; the message names the node."""
    try:
        store = RunStore(location, trust=EVERYTHING)
        key = store.keys.hash_key
    except RaymuError as error:
        node_id = ray.get_runtime_context().get_node_id()
        problem = error.problem if isinstance(error, RunInvalid) else str(error)
        raise RunInvalid(
            redacted(location),
            f"node {node_names().get(node_id, node_id)} cannot open it ({problem}); see that the run's directory is there "
            "too, or its credentials",
        ) from error

    def require_same_run() -> None:
        """Refuse to write into a run that was begun anew, if the driver was killed."""
        if RunKeys(store.files).hash_key != key:
            raise RunInvalid(redacted(location), "was begun anew by another process")

    store.files.fence = require_same_run
    return store


def seal_of(store: RunStore) -> RecordSeal:
    """Return the seal of what a run's tasks keep in the cluster."""
    return RecordSeal(RunKeys(store.files).hash_key)


def _sealed(location: str, work: Callable[[RunStore, RecordSeal], Any], *what: object) -> bytes | Failure:
    """Do some work. Returns its result, or the error that it ended with, as a sealed message."""
    pa.set_cpu_count(1)
    try:
        store = _run_at(location)
        seal = seal_of(store)
    except RaymuError as error:  # it names no sample
        _run_at.cache_clear()
        return Failure(error)
    try:
        message = work(store, seal)
    except Exception as error:  # whatever a task of the user's raises
        message = Failure(error)
    return seal.seal(pickled(message), *what)


@lru_cache(maxsize=1)
def _placement(location: str, payload: bytes) -> Placement:
    placement: Placement = pickle.loads(seal_of(_run_at(location)).open(payload, "placement"))
    return placement


def place_part(location: str, placement: bytes, pieces: bytes, part: int) -> tuple[bytes | Failure, pa.Table, pa.Table]:
    """Read and place a part of the table. Returns what the driver learns, and the records of its rows and of its keys."""
    records: list[pa.Table] = []

    def work(_: RunStore, seal: RecordSeal) -> PlacedPart:
        how, read = _placement(location, placement), pickle.loads(seal.open(pieces, "pieces", part))
        facts = PlacedFacts(shards=how.partition.shards, names=how.reading.fields.feature_columns)
        placed, keys = [], []
        for piece in read:
            for table in piece.batches(how.reading.columns):
                is_first = part == 0 and facts.head is None
                batch = place_batch(how, table, head=HEAD_ROWS if is_first else 0, kept=PROBE_SAMPLES)
                if facts.add(batch) and batch.rows is not None:
                    placed.append((batch.rows, batch.shards))
                    keys.append(batch.keys)
        schema = None
        if facts.findings.is_sound and placed:
            schema = placed[0][0].schema
            records.append(row_records(placed, part=part, seal=seal))
            records.append(key_records(np.concatenate(keys), part=part, seal=seal))
        return PlacedPart(facts=facts.together(), row_bytes=records[0].nbytes if records else 0, schema=schema)

    message = _sealed(location, work, "part", part)
    rows, keys = records or (pa.table({}), pa.table({}))
    return message, rows, keys


def find_repeated(records: pa.Table, *, location: str) -> pa.Table:
    """Return the keys of a group that occur again, as one sealed message."""
    message = _sealed(location, lambda _, seal: open_repeated(records, seal).tobytes(), "repeated")
    return _as_record(message)


def count_shared_rows(location: str, job: bytes, records: pa.Table) -> bytes | Failure:
    """Return how many of the rows of a part have one of some ids, as a sealed message."""

    def work(_: RunStore, seal: RecordSeal) -> int:
        ids, left_out = pickle.loads(seal.open(job, "count"))
        parts = (records.slice(row, 1) for row in range(len(records)))
        return sum(shared_ids(ids, left_out.without(rows)) for part in parts for rows in open_rows(part, seal))

    return _sealed(location, work, "counted")


def finish_shard(records: pa.Table, *, location: str, job: bytes) -> pa.Table:
    """Finish one shard. Returns what the driver learns of it, as one sealed message."""

    def work(store: RunStore, seal: RecordSeal) -> FinishedShard:
        tree, left_out = pickle.loads(seal.open(job, "write"))
        [shard] = set(records[SHARD].to_pylist())
        parts = open_rows(records, seal)
        return write_shard(store, shard, parts, config=Config.parse(tree), left_out=left_out)

    return _as_record(_sealed(location, work, "finished"))


def _as_record(message: bytes | Failure) -> pa.Table:
    if isinstance(message, Failure):
        raise message.error
    return pa.table({SEALED: pa.array([message], pa.large_binary())})
