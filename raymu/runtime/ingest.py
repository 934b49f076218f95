"""Ingest on a cluster: tasks read and place parts of a table, and Ray Data brings the rows of each shard together.

No process reads, holds or writes all rows. What Ray keeps of them is sealed with a key of the run, whose directory is
therefore begun before its samples are placed; it is removed again if they are refused.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from raymu.config import Config
from raymu.data.repeated_keys import KeyRows, in_order, read_key_rows
from raymu.data.table_stream import TablePiece, TableStream
from raymu.errors import DeviceUnavailable, RunInvalid
from raymu.runtime.ingest_tasks import PlacedPart, count_shared_rows, find_repeated, finish_shard, place_part, seal_of
from raymu.runtime.messages import Failure
from raymu.runtime.ray_errors import first_sentence, unwrap
from raymu.runtime.ray_internals import as_remote
from raymu.service.phase import READING, count_in_phase
from raymu.service.placement import PlacedBatch, Placement
from raymu.service.sealed_parts import (
    GROUP,
    SEALED,
    SHARD,
    RecordSeal,
    in_table,
)
from raymu.service.shard_tables import LeftOut, write_shard
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore

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
        seal, place = seal_of(self._store), as_remote(place_part)
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
                placed: PlacedPart = _message(seal, self._result(summary), "part", len(self._starts))
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
        seal, find = seal_of(self._store), partial(find_repeated, location=self._store.location)
        partitions = self._partitions(16 * self._row_count, groups=64)
        messages = _grouped(self._keys, GROUP, find, partitions=partitions)
        groups = [read_key_rows(_message(seal, payload, "repeated")) for payload in messages]
        self._keys = []
        return in_table(in_order(groups), np.array(self._starts, dtype=np.int64))

    def count_shared(self, ids: pa.Array, left_out: LeftOut) -> int:
        """Return how many of the samples that are left have one of these ids. ids: (samples,) string"""
        seal, count = seal_of(self._store), as_remote(count_shared_rows)
        with _as_raymu_errors():
            job = ray.put(seal.seal(pickle.dumps((ids, left_out)), "count"))
            options = {"num_cpus": 1, "max_retries": _RETRIES, "scheduling_strategy": "SPREAD"}
            refs = [count.options(**options).remote(self._store.location, job, rows) for rows in self._rows]
        return sum(_message(seal, self._result(ref), "counted") for ref in refs)

    def write(self, store: RunStore, config: Config, left_out: LeftOut) -> Iterator[FinishedShard]:
        """Write the run's copy of each shard's samples, on the nodes that have them. Raises StorageFailed."""
        seal = seal_of(store)
        job = seal.seal(pickle.dumps((config.tree(), left_out)), "write")
        finish = partial(finish_shard, location=store.location, job=job)
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
    """Bring the records of each group together on one worker. Yields the sealed message that `work` makes of each group."""
    from raymu.runtime.ray_data import map_groups  # pandas comes with it

    groups = map_groups(refs, key, work, partitions=partitions)
    with _as_raymu_errors():
        for row in groups:
            yield row[SEALED]
