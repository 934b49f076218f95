"""Hashes of ids and owners that Arrow holds, the same as `identity_hashes` gives of Python's objects."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import PartitionConfig
from raymu.core.keyed_blake2b import Messages, keyed_hashes
from raymu.core.partition import TEXT, Hashes, hash_key, identity_hashes
from raymu.data.arrow_buffers import to_numpy

_FEWEST_DIGITS, _HYPHENED_LENGTH = 32, 36
_HEX = r"\A(?:[0-9a-fA-F]{2})+\z"
"""Digits of bytes, for RE2."""


def array_hashes(identities: pa.Array, *, seed: int, purpose: str) -> Hashes:
    """Hash ids or owners, (identities,) int64 or string without missing ones. Returns (identities,) uint64."""
    if pa.types.is_integer(identities.type):
        return identity_hashes(to_numpy(identities), seed=seed, purpose=purpose)
    texts = identities.cast(pa.large_string())
    _, offsets, payload = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else None
    if ends is None:
        return np.zeros(0, dtype=np.uint64)
    used = np.frombuffer(payload or b"", dtype=np.uint8)[int(ends[0]) : int(ends[-1])]
    messages = Messages(payload=used, starts=ends[:-1] - ends[0], lengths=np.diff(ends), prefix=TEXT)
    return keyed_hashes(messages, key=hash_key(seed=seed, purpose=purpose))


def place_hashes(ids: pa.Array, owners: pa.Array | None, partition: PartitionConfig) -> Hashes:
    """Hash what samples are placed by: ids, or owners for the policy `owner`, as `homes` does.

    Args:
        ids: (samples,) int64 or string.
        owners: (samples,) int64 or string, some of them missing.
        partition: The settings of the run.
    """
    if partition.policy != "owner":
        return array_hashes(ids, seed=partition.seed, purpose="place")
    assert owners is not None
    own = pc.binary_join_element_wise("id/", ids.cast(pa.string()), "")
    of_owners = pc.binary_join_element_wise("owner/", owners.cast(pa.string()), "")
    return array_hashes(pc.coalesce(of_owners, own), seed=partition.seed, purpose="place")


def canonical_keys(ids: pa.Array) -> pa.Array:
    """Return what all spellings of each id have in common, as `canonical_key` does of one."""
    if pa.types.is_integer(ids.type) or (pc.max(pc.utf8_length(ids)).as_py() or 0) < _FEWEST_DIGITS:
        return ids
    is_hyphened = pc.equal(pc.utf8_length(ids), _HYPHENED_LENGTH)
    digits = pc.if_else(is_hyphened, pc.replace_substring(ids, "-", ""), ids)
    is_hex = pc.and_(pc.greater_equal(pc.utf8_length(digits), _FEWEST_DIGITS), pc.match_substring_regex(digits, _HEX))
    return pc.if_else(is_hex, pc.ascii_lower(digits), ids)
