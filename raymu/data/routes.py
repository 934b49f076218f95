"""Routes: the shards of what a sample's home does not follow from, in one sorted file of keyed hashes.

The home of a sample follows from its id, or from its owner under the policy `owner`. There the id alone does not say where a
sample is, and elsewhere an owner's samples are in many shards. Routes say it. They are made together with the tables, and no
revocation changes them: a route can lead to a shard that has forgotten. The hashes are keyed with the run's secret key, like
the pseudonyms that a journal keeps for good.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.core.partition import Hashes, hashes_with_key
from raymu.core.records import SampleId


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Routes:
    """Keyed hashes of ids or owners, and a shard of each. A hash occurs once for each of its shards."""

    hashes: Hashes
    """(routes,) uint64, ascending."""
    shards: npt.NDArray[np.int32]
    """(routes,) int32."""

    @classmethod
    def read(cls, source: pa.Buffer) -> "Routes":
        """Read routes without copying them. Raises pa.ArrowException, KeyError or ValueError for other bytes."""
        with pa.ipc.open_file(source) as reader:
            table = reader.read_all()
        columns = [table[name].combine_chunks() for name in ("hash", "shard")]
        hashes, shards = (
            column.chunk(0).to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy()
            for column in columns
        )
        return cls(hashes=hashes, shards=shards)

    def payload(self) -> pa.Buffer:
        """Return the bytes of the routes' file: Arrow IPC without compression, so that it can be mapped into memory."""
        table, sink = pa.table({"hash": pa.array(self.hashes), "shard": pa.array(self.shards)}), pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()

    def shards_of(self, route: np.uint64) -> list[int]:
        """Return the shards of a hash, ascending."""
        start, end = np.searchsorted(self.hashes, route), np.searchsorted(self.hashes, route, side="right")
        return sorted(self.shards[start:end].tolist())


class RoutesWriter:
    """Collects the routes of a run, shard by shard."""

    def __init__(self, key: bytes, *, of_owners: bool) -> None:
        """Begin without routes.

        Args:
            key: The run's secret key.
            of_owners: Whether the routes are those of owners, and not of ids.
        """
        self._key, self._of_owners = key, of_owners
        self._hashes: list[Hashes] = []
        self._shards: list[npt.NDArray[np.int32]] = []

    def add(self, shard: int, table: pa.Table) -> None:
        """Add the routes to a shard: of the owners in its table, or of the ids whose samples have an owner."""
        owned = table.filter(table["owner"].is_valid())
        column = owned["owner"].unique() if self._of_owners else owned["id"]
        hashes = np.unique(route_hashes(column.to_pylist(), self._key, of_owners=self._of_owners))
        self._hashes.append(hashes)
        self._shards.append(np.full(len(hashes), shard, dtype=np.int32))

    def routes(self) -> Routes:
        """Return all routes that were added."""
        hashes, shards = np.concatenate(self._hashes), np.concatenate(self._shards)
        order = np.argsort(hashes, kind="stable")
        return Routes(hashes=hashes[order], shards=shards[order])


def route_hashes(identities: Iterable[SampleId], key: bytes, *, of_owners: bool) -> Hashes:
    """Hash ids, or owners by their text, with a key that derives from the run's secret key: (identities,) uint64."""
    purpose = b"routes/owner" if of_owners else b"routes/id"
    values: Sequence[SampleId] = [str(each) if of_owners else each for each in identities]
    return hashes_with_key(values, key=hashlib.blake2b(purpose, key=key, digest_size=32).digest())
