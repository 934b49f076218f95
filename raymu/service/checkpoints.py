"""The files of the shard at work: in memory, and written through to the run."""

from collections.abc import Collection

from raymu.core.records import FileRef
from raymu.store.run import RunStore


class SliceCheckpoints:
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
