"""The files of the shard at work: in memory, and written through to the run."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.partition import identity_hashes
from raymu.core.records import FileRef, SampleId
from raymu.data.tables import from_arrow
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples


class StateCache:
    """Keeps one shard's checkpoints and recorded updates at hand."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._shard: int | None = None
        self._payloads: dict[FileRef, bytes] = {}

    def hold(self, shard: int) -> None:
        """Make room for a shard: those of another one are let go."""
        if shard != self._shard:
            self._shard = shard
            self._payloads.clear()

    def write(self, shard: int, name: str, payload: bytes) -> FileRef:
        ref = self._store.write_state(shard, name, payload)
        self._payloads[ref] = payload
        return ref

    def read(self, ref: FileRef) -> bytes:
        """From memory, or from the run with its hash checked. Raises FileMissing, FileCorrupt."""
        held = self._payloads.get(ref)
        return self._store.files.read_checked(ref) if held is None else held

    def keep(self, files: Collection[FileRef]) -> None:
        """Let go of everything else: what is superseded may not stay readable, in memory either."""
        self._payloads = {ref: payload for ref, payload in self._payloads.items() if ref in files}


def read_shard_samples(store: RunStore, ref: FileRef) -> ShardSamples:
    """Raises FileMissing, FileCorrupt."""
    table, slices = from_arrow(store.read_table(ref))
    hashes = identity_hashes(table.ids.tolist(), seed=store.config.partition.seed, purpose="sample")
    return ShardSamples.ordered(table, hashes=hashes, slices=slices)


def write_without(store: RunStore, shard: int, ref: FileRef, forget: Collection[SampleId]) -> FileRef:
    """The shard's table without these samples; the old one is superseded, and purged like any other file."""
    table = store.read_table(ref)
    is_forgotten = pc.is_in(table["id"], value_set=pa.array(list(forget), type=table["id"].type))
    return store.write_table(shard, table.filter(pc.invert(is_forgotten)))
