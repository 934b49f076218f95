"""Hashes of ids and owners that Arrow holds, the same as `identity_hashes` gives of Python's objects."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import PartitionConfig
from raymu.core.keyed_blake2b import Messages, decimal_messages, hashes_under_keys
from raymu.core.partition import INTEGER, TEXT, Hashes, hash_key
from raymu.data.arrow_buffers import to_numpy

_FEWEST_DIGITS, _HYPHENED_LENGTH = 32, 36
_HEX = r"\A(?:[0-9a-fA-F]{2})+\z"
"""Digits of bytes, for RE2."""


def array_hashes(identities: pa.Array, *, seed: int, purpose: str) -> Hashes:
    """Hash ids or owners, (identities,) int64 or string without missing ones. Returns (identities,) uint64."""
    hashes: Hashes = _hashes(identities, seed=seed, purposes=[purpose])[0]
    return hashes


def sample_hashes(ids: pa.Array, owners: pa.Array | None, partition: PartitionConfig) -> tuple[Hashes, Hashes]:
    """Hash what samples are placed by, which is ids, or owners for the policy `owner`, as `homes` does; and hash ids.

    Args:
        ids: (samples,) int64 or string.
        owners: (samples,) int64 or string, some of them missing.
        partition: The settings of the run.

    Returns:
        Hashes for the purposes `place` and `sample`, (samples,) uint64.
    """
    seed = partition.seed
    if partition.policy != "owner":
        place, sample = _hashes(ids, seed=seed, purposes=["place", "sample"])
        return place, sample
    assert owners is not None
    own = pc.binary_join_element_wise("id/", ids.cast(pa.string()), "")
    of_owners = pc.binary_join_element_wise("owner/", owners.cast(pa.string()), "")
    place = array_hashes(pc.coalesce(of_owners, own), seed=seed, purpose="place")
    return place, array_hashes(ids, seed=seed, purpose="sample")


def canonical_keys(ids: pa.Array) -> pa.Array:
    """Return what all spellings of each id have in common, as `canonical_key` does of one."""
    if pa.types.is_integer(ids.type) or (pc.max(pc.utf8_length(ids)).as_py() or 0) < _FEWEST_DIGITS:
        return ids
    is_hyphened = pc.equal(pc.utf8_length(ids), _HYPHENED_LENGTH)
    digits = pc.if_else(is_hyphened, pc.replace_substring(ids, "-", ""), ids)
    is_hex = pc.and_(pc.greater_equal(pc.utf8_length(digits), _FEWEST_DIGITS), pc.match_substring_regex(digits, _HEX))
    return pc.if_else(is_hex, pc.ascii_lower(digits), ids)


def _hashes(identities: pa.Array, *, seed: int, purposes: Sequence[str]) -> Hashes:
    """Hash ids or owners for several purposes. Returns (purposes, identities) uint64."""
    if not len(identities):
        return np.zeros((len(purposes), 0), dtype=np.uint64)
    keys = [hash_key(seed=seed, purpose=purpose) for purpose in purposes]
    return hashes_under_keys(_messages(identities), keys=keys)


def _messages(identities: pa.Array) -> Messages:
    if pa.types.is_integer(identities.type):
        return decimal_messages(to_numpy(identities).astype(np.int64, copy=False), prefix=INTEGER)
    texts = identities.cast(pa.large_string())
    _, offsets, payload = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    used = np.frombuffer(payload or b"", dtype=np.uint8)[int(ends[0]) : int(ends[-1])]
    return Messages(payload=used, starts=ends[:-1] - ends[0], lengths=np.diff(ends), prefix=TEXT)
