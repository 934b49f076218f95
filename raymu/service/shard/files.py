"""The files of the shard that a worker has: in memory, and written through to the run."""

from collections.abc import Collection, Iterator
from tempfile import gettempdir
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.arrays import Targets
from raymu.core.partition import Hashes, Indices, identity_hashes
from raymu.core.records import FileRef, SampleFiles, SampleId
from raymu.data.arrow_buffers import ids_to_arrow
from raymu.data.rows import Rows
from raymu.data.run_table import from_arrow, kept_bytes
from raymu.data.stored_rows import ScratchFile, StoredRows
from raymu.data.tables import SampleTable
from raymu.errors import StorageFailed
from raymu.store.run import RunStore
from raymu.text import one_line
from raymu.training.batches import ShardSamples

_MOST_COMPRESSION = 50
"""Times that features are larger than their file, at most: tables that are not larger are read without a look at them."""
_PART_BYTES = 2**24
"""Bytes of features that are decoded at once."""


class StateFiles(Protocol):
    """Where a patch reads the states of shards, and writes its own files."""

    def write(self, shard: int, name: str, payload: bytes) -> FileRef:
        """Write a file of a shard."""
        ...

    def read(self, ref: FileRef) -> bytes:
        """Read a file. Raises FileMissing, FileCorrupt."""
        ...


class StateCache:
    """One shard's checkpoints and recorded updates in memory, so that repairs need not read them."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._shard: int | None = None
        self._payloads: dict[FileRef, bytes] = {}

    def switch_to(self, shard: int) -> None:
        """Make room for a shard: evict the files of any other."""
        if shard != self._shard:
            self._shard = shard
            self._payloads.clear()

    def write(self, shard: int, name: str, payload: bytes) -> FileRef:
        """Write a file of the shard to the run, and keep it in memory."""
        ref = self._store.write_state(shard, name, payload)
        self._payloads[ref] = payload
        return ref

    def read(self, ref: FileRef) -> bytes:
        """Read a file from memory, or from the run with its hash checked. Raises FileMissing, FileCorrupt."""
        payload = self._payloads.get(ref)
        return self._store.files.read_checked(ref) if payload is None else payload

    def evict_except(self, files: Collection[FileRef]) -> None:
        """Evict all other files: superseded ones may not stay readable, in memory either."""
        self._payloads = {ref: payload for ref, payload in self._payloads.items() if ref in files}


def read_shard_samples(store: RunStore, ref: FileRef) -> ShardSamples:
    """Read a shard's table: into memory, or to a temporary file if it is larger than `cluster.samples_memory_gb`.

    Raises FileMissing, FileCorrupt; StorageFailed if the folder for temporary files has no room.
    """
    limit = store.config.cluster.samples_memory_gb * 1e9
    if ref.byte_size * _MOST_COMPRESSION > limit:
        table = store.samples.open_table(ref)
        size = kept_bytes(table.schema, table.rows, table.encoded_bytes)
        if size > limit:
            parts = table.parts(max(1, int(_PART_BYTES * table.rows / size)))
            try:
                return _stored_samples(parts, seed=store.config.partition.seed)
            except OSError as error:
                raise StorageFailed(
                    f"the folder for temporary files ({gettempdir()})",
                    f"{one_line(error)}; set TMPDIR to a folder with {size:,} bytes, or raise cluster.samples_memory_gb",
                ) from error
    samples, slices = from_arrow(store.samples.read_table(ref))
    return ShardSamples.ordered(samples, hashes=_hashes(samples, store.config.partition.seed), slices=slices)


def _stored_samples(parts: Iterator[pa.Table], *, seed: int) -> ShardSamples:
    """Write the features of a table, part after part, to a temporary file. All else stays in memory."""
    hashes, slices, labels = list[Hashes](), list[Indices](), list[Targets]()

    def features() -> Iterator[Rows]:
        for part in parts:
            table, part_slices = from_arrow(part)
            hashes.append(_hashes(table, seed))
            slices.append(part_slices)
            labels.append(table.labels)
            yield table.features

    file = ScratchFile(features())
    rows = StoredRows(file=file, numbers=np.arange(sum(map(len, slices))))
    return ShardSamples.of_rows(
        rows, np.concatenate(labels), hashes=np.concatenate(hashes), slices=np.concatenate(slices)
    )


def _hashes(table: SampleTable, seed: int) -> Hashes:
    return identity_hashes(
        table.ids if table.ids.dtype.kind == "i" else table.ids.tolist(), seed=seed, purpose="sample"
    )


def write_without(store: RunStore, shard: int, files: SampleFiles, forget: Collection[SampleId]) -> SampleFiles:
    """Write a shard's table and its index without some samples. The old ones are superseded, and purged like other files."""
    table, old = store.files.together(
        lambda: store.samples.read_table(files.table),
        lambda: None if files.index is None else store.samples.read_index(files),
    )
    is_forgotten = pc.is_in(table["id"], value_set=ids_to_arrow(list(forget), table["id"].type))
    index = None
    if old is not None:
        index = old.without(identity_hashes(forget, seed=store.config.partition.seed, purpose="sample"))
    return store.samples.write(shard, table.filter(pc.invert(is_forgotten)), index)
