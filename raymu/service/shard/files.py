"""The files of the shard that a worker has: in memory, and written through to the run."""

from collections.abc import Collection
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.partition import identity_hashes
from raymu.core.records import FileRef, SampleFiles, SampleId
from raymu.data.tables import from_arrow
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples


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
    """Read a shard's table. Raises FileMissing, FileCorrupt."""
    table, slices = from_arrow(store.read_table(ref))
    hashes = identity_hashes(table.ids.tolist(), seed=store.config.partition.seed, purpose="sample")
    return ShardSamples.ordered(table, hashes=hashes, slices=slices)


def write_without(store: RunStore, shard: int, files: SampleFiles, forget: Collection[SampleId]) -> SampleFiles:
    """Write a shard's table and its index without some samples. The old ones are superseded, and purged like other files."""
    table = store.read_table(files.table)
    is_forgotten = pc.is_in(table["id"], value_set=pa.array(list(forget), type=table["id"].type))
    index = None
    if files.index is not None:
        index = store.read_index(files).without(
            identity_hashes(forget, seed=store.config.partition.seed, purpose="sample")
        )
    return store.write_samples(shard, table.filter(pc.invert(is_forgotten)), index)
