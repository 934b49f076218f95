"""The index of a shard's samples: slices and owners, sorted by the hashes of ids, to be searched in a mapped file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.partition import Hashes, Indices, identity_hashes
from raymu.core.records import SampleId
from raymu.data.arrow_buffers import to_arrow, to_numpy, whole
from raymu.data.id_hashes import array_hashes

COLUMNS = ("id", "slice", "owner")
"""Columns of a shard's table that its index is made of; `owner` only where the run knows owners."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardIndex:
    """The samples of one shard, in the order of the hashes of their ids."""

    hashes: Hashes
    """(samples,) uint64, ascending: the hash of each id for the purpose `sample`."""
    slices: npt.NDArray[np.int32]
    """(samples,) int32."""
    owners: Hashes | None
    """(samples,) uint64 hashes of owners, 0 for a sample without one; None if the run knows no owners."""
    ids: pa.Array
    """(samples,) integers or text."""

    @classmethod
    def of(cls, table: pa.Table, *, seed: int, hashes: Hashes | None = None) -> "ShardIndex":
        """Make the index of a shard's table.

        Args:
            table: The columns `COLUMNS` of the run's own table.
            seed: The seed of the run's partition, which the hashes derive from.
            hashes: (samples,) uint64 hashes of the ids for the purpose `sample`, if they are known.
        """
        ids = whole(table["id"])
        if hashes is None:
            hashes = array_hashes(ids, seed=seed, purpose="sample")
        order = np.argsort(hashes, kind="stable")
        owners = _owner_column(table, seed=seed)
        return cls(
            hashes=hashes[order],
            slices=to_numpy(table["slice"]).astype(np.int32)[order],
            owners=None if owners is None else owners[order],
            ids=ids.take(to_arrow(order)),
        )

    @classmethod
    def read(cls, source: pa.Buffer) -> "ShardIndex":
        """Read an index without copying it. Raises pa.ArrowException, KeyError or ValueError for other bytes."""
        with pa.ipc.open_file(source) as reader:
            table = reader.read_all()
        return cls(
            hashes=to_numpy(table["hash"]),
            slices=to_numpy(table["slice"]),
            owners=to_numpy(table["owner"]) if "owner" in table.column_names else None,
            ids=whole(table["id"]),
        )

    def payload(self) -> pa.Buffer:
        """Return the bytes of the index's file: Arrow IPC without compression, so that it can be mapped into memory."""
        columns = {"hash": to_arrow(self.hashes), "slice": to_arrow(self.slices), "id": self.ids}
        if self.owners is not None:
            columns["owner"] = to_arrow(self.owners)
        table, sink = pa.table(columns), pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()

    def equals(self, other: "ShardIndex") -> bool:
        """Return whether two indexes are of the same samples."""
        if self.owners is None or other.owners is None:
            are_owned_alike = self.owners is other.owners
        else:
            are_owned_alike = np.array_equal(self.owners, other.owners)
        return bool(
            are_owned_alike
            and np.array_equal(self.hashes, other.hashes)
            and np.array_equal(self.slices, other.slices)
            and self.ids.equals(other.ids)
        )

    def rows(self, hashes: Hashes) -> Indices:
        """Return the row of each hash, (hashes,) int64; -1 for those that the shard does not hold."""
        if not len(self.hashes):
            return np.full(len(hashes), -1)
        rows = np.searchsorted(self.hashes, hashes)
        rows[rows == len(self.hashes)] = 0
        return np.where(self.hashes[rows] == hashes, rows, -1)

    def without(self, hashes: Hashes) -> "ShardIndex":
        """Return the index without the samples that have these hashes."""
        is_kept = ~np.isin(self.hashes, hashes)
        return ShardIndex(
            hashes=self.hashes[is_kept],
            slices=self.slices[is_kept],
            owners=None if self.owners is None else self.owners[is_kept],
            ids=self.ids.filter(to_arrow(is_kept)),
        )

    def owned_by(self, owners: Hashes) -> list[list[SampleId]]:
        """Return the ids of each owner's samples, by the hashes of the owners."""
        if self.owners is None:
            return [[] for _ in owners]
        rows = np.flatnonzero(np.isin(self.owners, owners))
        rows = rows[np.argsort(self.owners[rows], kind="stable")]
        present, ids = self.owners[rows], self.ids.take(to_arrow(rows)).to_pylist()
        spans = zip(np.searchsorted(present, owners), np.searchsorted(present, owners, side="right"), strict=True)
        return [ids[start:end] for start, end in spans]


def owner_hashes(owners: Iterable[SampleId | None], *, seed: int) -> Hashes:
    """Return hashes of owners by their text, as the command line names them: (owners,) uint64; 0 for None."""
    owners = list(owners)
    hashes = identity_hashes([str(owner) for owner in owners], seed=seed, purpose="owner")
    hashes[[owner is None for owner in owners]] = 0
    return hashes


@dataclass(frozen=True, kw_only=True, slots=True)
class PaddedIds:
    """Ids with space around them in one shard."""

    has_padded: bool
    """Whether the shard has any."""
    pairs: list[tuple[str, str]]
    """The texts that are meant, each with an id that is this text with space around it."""


def padded_ids(ids: pa.Array, texts: Sequence[str]) -> PaddedIds:
    """Return the ids that are one of these texts with space around it."""
    trimmed = pc.utf8_trim_whitespace(ids)
    is_padded = pc.not_equal(ids, trimmed)
    is_meant = pc.and_(is_padded, pc.is_in(trimmed, value_set=pa.array(texts, type=trimmed.type)))
    return PaddedIds(
        has_padded=bool(pc.any(is_padded).as_py()),
        pairs=list(zip(trimmed.filter(is_meant).to_pylist(), ids.filter(is_meant).to_pylist(), strict=True)),
    )


def _owner_column(table: pa.Table, *, seed: int) -> Hashes | None:
    """Return the hash of each sample's owner; each owner is hashed once."""
    if "owner" not in table.column_names:
        return None
    owners = whole(table["owner"]).dictionary_encode()
    distinct = np.append(owner_hashes(owners.dictionary.to_pylist(), seed=seed), np.uint64(0))
    numbers = to_numpy(pc.fill_null(owners.indices, len(distinct) - 1))
    hashes: Hashes = distinct[numbers]
    return hashes
