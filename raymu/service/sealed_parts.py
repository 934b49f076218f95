"""Placed parts of a table as sealed records, which other programs may keep: none of them shows an id, an owner or a feature.

Records of the rows say in clear which shard they belong to, those of keys which group. Both say the number of their part, so
that what is made of them does not depend on the order in which they arrive.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from raymu.core.partition import Hashes, Indices
from raymu.data.arrow_source import arrow_reader
from raymu.data.repeated_keys import KeyRows, key_groups, key_rows, read_key_rows, repeated_keys
from raymu.data.shard_rows import stable_order
from raymu.store.cipher import RunCipher

SHARD, GROUP, PART, SEALED = "shard", "group", "part", "sealed"
"""Columns of records."""
_ROW_BITS = 32
"""Bits of the number of a row within its part."""


class RecordSeal:
    """Encryption with a key of the run that is being created. Each record is bound to what it is of."""

    def __init__(self, hash_key: bytes) -> None:
        """Derive the key from the run's."""
        self._cipher = RunCipher(hash_key, purpose="ingest")

    def seal(self, plain: bytes, *what: object) -> bytes:
        """Encrypt bytes. what: What they are of"""
        return self._cipher.encrypt(plain, bound_to=repr(what).encode())

    def open(self, payload: bytes, *what: object) -> bytes:
        """Decrypt bytes. Raises ValueError if they are of something else, or of another run."""
        return self._cipher.decrypt(payload, bound_to=repr(what).encode())


def row_records(parts: Sequence[tuple[pa.Table, Indices]], *, part: int, seal: RecordSeal) -> pa.Table:
    """Seal the placed rows of a part, shard by shard.

    Args:
        parts: Rows, and the shard of each, (rows,).
        part: The number of the part.
        seal: Encrypts.
    """
    sorted_rows: list[pa.Table] = []
    of_rows: list[Indices] = []
    for rows, shards in parts:
        order = stable_order(shards)
        sorted_rows.append(rows.take(pa.array(order)).combine_chunks())
        of_rows.append(shards[order])
    present = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *of_rows]))
    sealed = []
    for shard in present.tolist():
        pieces = []
        for rows, shards in zip(sorted_rows, of_rows, strict=True):
            start, stop = np.searchsorted(shards, [shard, shard + 1]).tolist()
            pieces.append(rows.slice(start, stop - start))
        sealed.append(seal.seal(_payload(pa.concat_tables(pieces)), SHARD, shard, part))
    return _records(SHARD, present, part, sealed)


def key_records(keys: Hashes, *, part: int, seal: RecordSeal) -> pa.Table:
    """Seal the keys of a part, (rows,), group by group."""
    records, groups = key_rows(keys, part << _ROW_BITS), key_groups(keys)
    present = np.unique(groups)
    sealed = [seal.seal(records[groups == group].tobytes(), GROUP, group, part) for group in present.tolist()]
    return _records(GROUP, present, part, sealed)


def open_rows(records: pa.Table, seal: RecordSeal) -> list[pa.Table]:
    """Return the rows of one shard, in the order of the parts. Raises ValueError."""
    return [_table(payload) for payload in _opened(records, SHARD, seal)]


def open_repeated(records: pa.Table, seal: RecordSeal) -> KeyRows:
    """Return the keys of one group that occur again, with their first row. Raises ValueError."""
    return repeated_keys(read_key_rows(b"".join(_opened(records, GROUP, seal))))


def in_table(repeated: KeyRows, starts: Indices) -> KeyRows:
    """Number rows as the table does. starts: (parts,) the row of the table that each part begins with"""
    numbered = repeated.copy()
    numbered["row"] = starts[repeated["row"] >> _ROW_BITS] + (repeated["row"] & ((1 << _ROW_BITS) - 1))
    return numbered


def _opened(records: pa.Table, name: str, seal: RecordSeal) -> Iterator[bytes]:
    of, parts, sealed = (records[column] for column in (name, PART, SEALED))
    numbers = parts.to_pylist()
    for row in sorted(range(len(records)), key=numbers.__getitem__):
        yield seal.open(sealed[row].as_py(), name, of[row].as_py(), numbers[row])


def _records(name: str, present: Indices, part: int, sealed: list[bytes]) -> pa.Table:
    columns = {
        name: pa.array(present.tolist(), pa.int64()),
        PART: pa.array([part] * len(present), pa.int64()),
        SEALED: pa.array(sealed, pa.large_binary()),
    }
    return pa.table(columns)


def _payload(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def _table(payload: bytes) -> pa.Table:
    with pa.ipc.open_stream(arrow_reader(payload)) as reader:
        return reader.read_all()
