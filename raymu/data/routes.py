"""Routes: the shards of what a sample's home does not follow from, in sorted files of keyed hashes.

The home of a sample follows from its id, or from its owner under the policy `owner`. There the id alone does not say where a
sample is, and elsewhere an owner's samples are in many shards. Routes say it. They are made together with the tables, and no
revocation changes them: a route can lead to a shard that has forgotten. The hashes are keyed with the run's secret key, like
the pseudonyms that a journal keeps for good.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.core.partition import Hashes, Indices, bucket, hashes_with_key
from raymu.core.records import SampleId
from raymu.data.arrow_buffers import to_arrow, to_numpy

MAX_ROUTES = 1 << 22
"""Routes that are sorted in memory, and divided into parts together."""
ROUTES_OF_A_PART = 1 << 18
"""About how many routes are in a file."""


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
        return cls(hashes=to_numpy(table["hash"]), shards=to_numpy(table["shard"]))

    def parts(self) -> list["Routes"]:
        """Divide the routes by their hashes, as `bucket` does, into parts that are small enough to be read for one lookup."""
        count = max(1, -(-len(self.hashes) // ROUTES_OF_A_PART))
        starts = np.searchsorted(bucket(self.hashes, count), np.arange(1, count))
        hashes, shards = np.split(self.hashes, starts), np.split(self.shards, starts)
        return [Routes(hashes=part, shards=of_part) for part, of_part in zip(hashes, shards, strict=True)]

    @classmethod
    def merged(cls, parts: Sequence["Routes"]) -> "Routes":
        """Return the routes of several files as those of one."""
        hashes = np.concatenate([np.empty(0, dtype=np.uint64), *(part.hashes for part in parts)])
        shards = np.concatenate([np.empty(0, dtype=np.int32), *(part.shards for part in parts)])
        order = np.argsort(hashes, kind="stable")
        return cls(hashes=hashes[order], shards=shards[order])

    def payload(self) -> pa.Buffer:
        """Return the bytes of the routes' file: Arrow IPC without compression, so that it can be mapped into memory."""
        table, sink = pa.table({"hash": to_arrow(self.hashes), "shard": to_arrow(self.shards)}), pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()

    def find(self, keys: Hashes) -> tuple[Indices, Indices]:
        """Return the place of a key and a shard for each route of these keys, both (routes found,) int64."""
        first = np.searchsorted(self.hashes, keys)
        counts = np.searchsorted(self.hashes, keys, side="right") - first
        places = np.repeat(np.arange(len(keys)), counts)
        steps = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.shards[np.repeat(first, counts) + steps].astype(np.int64)


class RoutesWriter:
    """Collects the routes of a run, shard by shard."""

    def __init__(self, key: bytes, *, of_owners: bool) -> None:
        """Begin without routes.

        Args:
            key: The run's secret key.
            of_owners: Whether the routes are those of owners, and not of ids.
        """
        self._key, self._of_owners = key, of_owners
        self._parts: list[Routes] = []
        self._count = 0

    def add(self, shard: int, hashes: Hashes) -> Iterator[Routes]:
        """Add the routes to a shard. hashes: what `hashes_of` returns of its table

        Yields:
            Routes to write, whenever there are enough.
        """
        for start in range(0, len(hashes), MAX_ROUTES):
            part = hashes[start : start + MAX_ROUTES]
            self._parts.append(Routes(hashes=part, shards=np.full(len(part), shard, dtype=np.int32)))
            self._count += len(part)
            if self._count >= MAX_ROUTES:
                yield self.routes()

    def hashes_of(self, table: pa.Table) -> Hashes:
        """Hash the owners in a shard's table, or the ids whose samples have an owner: (routes,) uint64, ascending."""
        owned = table.filter(table["owner"].is_valid())
        column = owned["owner"].unique() if self._of_owners else owned["id"]
        is_number = not self._of_owners and pa.types.is_integer(column.type)
        values = to_numpy(column) if is_number else column.to_pylist()
        return np.unique(route_hashes(values, self._key, of_owners=self._of_owners))

    def routes(self) -> Routes:
        """Return the routes that no file has yet."""
        parts, self._parts, self._count = self._parts, [], 0
        return Routes.merged(parts)


def route_hashes(identities: Iterable[SampleId] | Indices, key: bytes, *, of_owners: bool) -> Hashes:
    """Hash ids, or owners by their text, with a key that derives from the run's secret key: (identities,) uint64."""
    purpose = b"routes/owner" if of_owners else b"routes/id"
    values = [str(each) for each in identities] if of_owners else identities
    return hashes_with_key(values, key=hashlib.blake2b(purpose, key=key, digest_size=32).digest())
