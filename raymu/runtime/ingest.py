"""Ingest on a cluster: tasks read and place parts of a table, and Ray Data brings the rows of each shard together.

No process reads, holds or writes all rows. What Ray keeps of them is sealed with a key of the run, whose directory is
therefore begun before its samples are placed; it is removed again if they are refused.
"""

import logging
import pickle
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from raymu.config import Config
from raymu.core.trust import EVERYTHING
from raymu.core.uri import redacted
from raymu.data.repeated_keys import KeyRows, in_order, read_key_rows
from raymu.data.table_stream import TablePiece, TableStream
from raymu.errors import DeviceUnavailable, RaymuError, RunInvalid
from raymu.runtime.messages import Failure, pickled
from raymu.runtime.nodes import node_names
from raymu.runtime.ray_errors import first_sentence, unwrap
from raymu.runtime.ray_internals import as_remote
from raymu.service.held_out import shared_ids
from raymu.service.phase import READING, count_in_phase
from raymu.service.placed_facts import HEAD_ROWS, PlacedFacts
from raymu.service.placement import PlacedBatch, Placement, place_batch
from raymu.service.sealed_parts import (
    GROUP,
    SEALED,
    SHARD,
    RecordSeal,
    in_table,
    key_records,
    open_repeated,
    open_rows,
    row_records,
)
from raymu.service.shard_tables import LeftOut, write_shard
from raymu.store.finished_shard import FinishedShard
from raymu.store.keys import RunKeys
from raymu.store.run import RunStore
from raymu.training.row_checks import PROBE_SAMPLES

PART_BYTES = 64 * 2**20
"""Bytes of the table that a task reads: enough that its start does not matter, and that the driver has few objects to
know; a task needs about four times as much memory."""
_GATHERED_BYTES = 256 * 2**20
"""About the sealed bytes that one process brings together. A shard is never divided."""
_LEAST_GATHERED_BYTES = 2**20
"""Sealed bytes for which it does not pay to start another process."""
_RETRIES = 5
"""How often a task is begun again whose worker or node is lost."""
_PATIENCE_S = 5.0
"""How long nothing has to be done before it is said that the cluster has no room."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _PlacedPart:
    """What the driver learns of a part."""

    facts: PlacedBatch
    row_bytes: int
    """Sealed bytes of its rows."""
    schema: pa.Schema | None
    """The columns of placed rows; None if something is wrong with the part."""


class RowsOnRay:
    """Places a table on the cluster that this process is connected to."""

    is_run_begun = True

    def __init__(
        self, stream: TableStream, placement: Placement, store: RunStore, *, part_bytes: int = PART_BYTES
    ) -> None:
        """Begin without rows.

        Args:
            stream: The table.
            placement: How its samples are placed.
            store: The run.
            part_bytes: Bytes that a task reads.
        """
        self._stream, self._placement, self._store, self._part_bytes = stream, placement, store, part_bytes
        self._rows: list[Any] = []
        self._keys: list[Any] = []
        self._starts: list[int] = []
        self._row_count = self._row_bytes = 0
        self._schema: pa.Schema | None = None

    def place(self) -> Iterator[PlacedBatch]:
        """Place all parts, and yield what is known of each, in the order of the rows.

        Raises:
            RaymuError: What is wrong with a part, as in one process; RunInvalid if a node cannot open the run;
                DeviceUnavailable if the cluster fails.
        """
        seal, place = _seal_of(self._store), as_remote(_place)
        with _as_raymu_errors():
            placement = ray.put(seal.seal(pickle.dumps(self._placement), "placement"))
        pending: deque[Any] = deque()
        items = enumerate(self._items())
        is_sound = True
        try:
            while True:
                while len(pending) < _side_by_side() and (item := next(items, None)) is not None:
                    number, pieces = item
                    payload = seal.seal(pickle.dumps(pieces), "pieces", number)
                    options = {"num_returns": 3, "num_cpus": 1, "max_retries": _RETRIES}
                    with _as_raymu_errors():
                        refs = place.options(scheduling_strategy="SPREAD", **options).remote(
                            self._store.location, placement, payload, number
                        )
                    pending.append(refs)
                if not pending:
                    return
                summary, rows, keys = pending[0]
                placed: _PlacedPart = _message(seal, self._result(summary), "part", len(self._starts))
                pending.popleft()
                is_sound = is_sound and placed.schema is not None
                if is_sound:  # else they are of no use
                    self._rows.append(rows)
                    self._keys.append(keys)
                self._starts.append(self._row_count)
                self._row_count += placed.facts.findings.rows
                self._row_bytes += placed.row_bytes
                self._schema = self._schema or placed.schema
                yield placed.facts
        finally:
            for refs in pending:
                ray.cancel(refs[0])

    def repeated(self) -> KeyRows:
        """Return the first row of each key that occurs again, in the order of the rows."""
        if not self._keys:
            return in_order([])
        seal, find = _seal_of(self._store), partial(_find_repeated, location=self._store.location)
        partitions = self._partitions(16 * self._row_count, groups=64)
        messages = _grouped(self._keys, GROUP, find, partitions=partitions)
        groups = [read_key_rows(_message(seal, payload, "repeated")) for payload in messages]
        self._keys = []
        return in_table(in_order(groups), np.array(self._starts, dtype=np.int64))

    def count_shared(self, ids: pa.Array, left_out: LeftOut) -> int:
        """Return how many of the samples that are left have one of these ids. ids: (samples,) string"""
        seal, count = _seal_of(self._store), as_remote(_count_shared)
        with _as_raymu_errors():
            job = ray.put(seal.seal(pickle.dumps((ids, left_out)), "count"))
            options = {"num_cpus": 1, "max_retries": _RETRIES, "scheduling_strategy": "SPREAD"}
            refs = [count.options(**options).remote(self._store.location, job, rows) for rows in self._rows]
        return sum(_message(seal, self._result(ref), "counted") for ref in refs)

    def write(self, store: RunStore, config: Config, left_out: LeftOut) -> Iterator[FinishedShard]:
        """Write the run's copy of each shard's samples, on the nodes that have them. Raises StorageFailed."""
        seal = _seal_of(store)
        job = seal.seal(pickle.dumps((config.tree(), left_out)), "write")
        finish = partial(_finish, location=store.location, job=job)
        shards = self._placement.partition.shards
        left = set(range(shards))
        rows, self._rows = self._rows, []
        partitions = self._partitions(self._row_bytes, groups=shards)
        for payload in _grouped(rows, SHARD, finish, partitions=partitions):
            finished: FinishedShard = _message(seal, payload, "finished")
            left.discard(finished.shard)
            yield finished
        assert self._schema is not None, "a table has rows"
        for shard in sorted(left):  # all of its samples are revoked
            yield write_shard(store, shard, [self._schema.empty_table()], config=config, left_out=left_out)

    def close(self) -> None:
        """Let the cluster forget the samples."""
        self._rows, self._keys = [], []

    def _items(self) -> Iterator[tuple[TablePiece, ...]]:
        """Yield consecutive pieces that are read by one task: many small files are one."""
        together: list[TablePiece] = []
        for piece in self._stream.pieces(self._placement.reading.columns, most_bytes=self._part_bytes):
            if together and sum(each.size for each in together) + piece.size > self._part_bytes:
                yield tuple(together)
                together = []
            together.append(piece)
        if together:
            yield tuple(together)

    def _partitions(self, size: int, *, groups: int) -> int:
        """Return into how many parts so many bytes are divided, for processes that bring groups together."""
        for_all_cpus = min(2 * _cpus(), size // _LEAST_GATHERED_BYTES)
        return int(max(1, min(groups, max(for_all_cpus, -(-size // _GATHERED_BYTES)))))

    def _result(self, ref: Any) -> Any:
        """Wait for the result of a task, and say so if there is no room for it."""
        while True:
            try:
                with _as_raymu_errors():
                    return ray.get(ref, timeout=_PATIENCE_S)
            except GetTimeoutError:
                if ray.available_resources().get("CPU", 0) < 1:  # type: ignore[no-untyped-call]
                    count_in_phase(READING, f"{self._row_count:,} rows, waiting for room on the cluster")


def _side_by_side() -> int:
    """Return how many tasks are submitted at once: enough that none of the cluster's CPUs waits for the next one."""
    return max(8, 2 * _cpus())


def _cpus() -> int:
    return int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]


def _message(seal: RecordSeal, payload: bytes | Failure, *what: object) -> Any:
    """Return what a task sent. Raises the error that it ended with, and RunInvalid if it is not of this run."""
    try:
        message = payload if isinstance(payload, Failure) else pickle.loads(seal.open(payload, *what))
    except ValueError as error:
        raise RunInvalid(
            "the new run", "is another directory on some node of the cluster; name one that all nodes share"
        ) from error
    if isinstance(message, Failure):
        raise message.error
    return message


@contextmanager
def _as_raymu_errors() -> Iterator[None]:
    try:
        yield
    except GetTimeoutError:
        raise
    except RayTaskError as error:
        raise unwrap(error) from None
    except RayError as error:
        raise DeviceUnavailable(
            f"the cluster failed while the samples were read ({first_sentence(error)}); train again"
        ) from error


def _grouped(refs: list[Any], key: str, work: Callable[[pa.Table], pa.Table], *, partitions: int) -> Iterator[bytes]:
    """Bring the records of each group together on one worker. Yields what `work` makes of each group, in any order.

    Args:
        refs: Tables of records in Ray's object store.
        key: The column that says the group.
        work: Makes one sealed message of the records of a group.
        partitions: Into how many parts all records are divided.
    """
    import ray.data  # pandas comes with it

    with _silent_pipeline():
        records = ray.data.from_arrow_refs(refs)
        done = records.groupby(key, num_partitions=partitions).map_groups(work, batch_format="pyarrow", num_cpus=1)
        with _as_raymu_errors():
            for row in done.iter_rows():
                yield row[SEALED]


@contextmanager
def _silent_pipeline() -> Iterator[None]:
    """Set Ray Data up for a pipeline that writes nothing on a terminal."""
    from ray.data import DataContext

    with warnings.catch_warnings():  # Ray Data warns of its own defaults
        warnings.simplefilter("ignore", DeprecationWarning)
        with _quiet_context(DataContext.get_current()):
            yield


@contextmanager
def _quiet_context(context: Any) -> Iterator[None]:
    settings = {
        "enable_progress_bars": False,
        "enable_operator_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,  # other jobs may have the room for long
        "shuffle_compression": "none",  # what is sealed cannot be compressed
        "target_max_block_size": None,  # what one worker brings together is not divided: a group would be
    }
    before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    handlers = {handler: handler.level for handler in logger.handlers if isinstance(handler, logging.StreamHandler)}
    try:
        for name in before:
            setattr(context, name, settings[name])
        for handler in handlers:
            handler.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for handler, level in handlers.items():
            handler.setLevel(level)


# The rest runs on workers. Ray would keep the text of an error that is raised, so it is returned, sealed.


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


def _seal_of(store: RunStore) -> RecordSeal:
    return RecordSeal(RunKeys(store.files).hash_key)


def _sealed(location: str, work: Callable[[RunStore, RecordSeal], Any], *what: object) -> bytes | Failure:
    """Do some work. Returns its result, or the error that it ended with, as a sealed message."""
    pa.set_cpu_count(1)
    try:
        store = _run_at(location)
        seal = _seal_of(store)
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
    placement: Placement = pickle.loads(_seal_of(_run_at(location)).open(payload, "placement"))
    return placement


def _place(location: str, placement: bytes, pieces: bytes, part: int) -> tuple[bytes | Failure, pa.Table, pa.Table]:
    """Read and place a part of the table. Returns what the driver learns, and the records of its rows and of its keys."""
    records: list[pa.Table] = []

    def work(_: RunStore, seal: RecordSeal) -> _PlacedPart:
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
        return _PlacedPart(facts=facts.together(), row_bytes=records[0].nbytes if records else 0, schema=schema)

    message = _sealed(location, work, "part", part)
    rows, keys = records or (pa.table({}), pa.table({}))
    return message, rows, keys


def _find_repeated(records: pa.Table, *, location: str) -> pa.Table:
    """Return the keys of a group that occur again, as one sealed message."""
    message = _sealed(location, lambda _, seal: open_repeated(records, seal).tobytes(), "repeated")
    return _as_record(message)


def _count_shared(location: str, job: bytes, records: pa.Table) -> bytes | Failure:
    """Return how many of the rows of a part have one of some ids, as a sealed message."""

    def work(_: RunStore, seal: RecordSeal) -> int:
        ids, left_out = pickle.loads(seal.open(job, "count"))
        parts = (records.slice(row, 1) for row in range(len(records)))
        return sum(shared_ids(ids, left_out.without(rows)) for part in parts for rows in open_rows(part, seal))

    return _sealed(location, work, "counted")


def _finish(records: pa.Table, *, location: str, job: bytes) -> pa.Table:
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
