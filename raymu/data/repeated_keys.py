"""Keys that occur again, found group by group: equal keys are of one group."""

from typing import Any

import numpy as np
import numpy.typing as npt

from raymu.core.partition import Hashes, Indices

KeyRows = npt.NDArray[Any]
"""Keys and their rows, as records of `key` and `row`."""
_RECORD = np.dtype([("key", "<u8"), ("row", "<i8")])
_GROUP_BITS = 6
GROUPS = 1 << _GROUP_BITS


def key_rows(keys: Hashes, first: int) -> KeyRows:
    """Return the keys of consecutive rows. first: The number of the first row"""
    records = np.empty(len(keys), dtype=_RECORD)
    records["key"], records["row"] = keys, np.arange(first, first + len(keys))
    return records


def read_key_rows(payload: bytes) -> KeyRows:
    """Return keys and rows from their bytes."""
    return np.frombuffer(payload, dtype=_RECORD)


def key_groups(keys: Hashes) -> Indices:
    """Return the group of each key, by its highest bits."""
    return (keys >> np.uint64(64 - _GROUP_BITS)).astype(np.int64)


def repeated_keys(records: KeyRows) -> KeyRows:
    """Return each key that occurs again, with the first of its rows. records: ordered by their rows"""
    if not len(records):
        return records
    keys = np.sort(records["key"])  # much quicker than the order, which hardly any table needs
    if not (keys[1:] == keys[:-1]).any():
        return records[:0]
    records = records[np.argsort(records["key"], kind="stable")]
    is_same = np.concatenate([[False], records["key"][1:] == records["key"][:-1], [False]])
    return records[~is_same[:-1] & is_same[1:]]


def in_order(groups: list[KeyRows]) -> KeyRows:
    """Return the records of all groups, ordered by their rows."""
    joined = np.concatenate([np.zeros(0, dtype=_RECORD), *groups])
    return joined[np.argsort(joined["row"])]
