"""The home of each sample and the order of training, from keyed hashes of identity alone.

Every function of a sample depends on that sample alone, so that removing another one changes neither its home, nor its
batch, nor its rank among the rest.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from raymu.config import PartitionConfig
from raymu.core.keyed_blake2b import KEY_BYTES, Messages, decimal_messages, keyed_hashes
from raymu.core.records import SampleId

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

INTEGER, TEXT = b"i", b"s"
"""What is hashed before an integer, and before text."""
_LOW_32 = np.uint64(0xFFFFFFFF)


def homes(
    ids: Sequence[SampleId],
    partition: PartitionConfig,
    *,
    owners: Iterable[int | str | None] | None = None,
    risks: npt.NDArray[np.float64] | None = None,
) -> tuple[Indices, Indices]:
    """Choose the home of every sample by the policy of the partition, each from the sample alone.

    Args:
        ids: The samples.
        partition: The settings of the run.
        owners: Owner of each sample, for the policy `owner`.
        risks: (samples,) revocation probabilities within [0, 1], for the policy `risk`.

    Returns:
        Shards and slices, (samples,) int64.
    """
    shards, slices, seed = partition.shards, partition.slices, partition.seed
    if partition.policy == "owner":
        assert owners is not None
        # A sample without an owner is its own owner. The prefix keeps it apart from an owner of that name.
        owner_keys = [
            f"id/{sample}" if owner is None else f"owner/{owner}" for sample, owner in zip(ids, owners, strict=True)
        ]
        return place_uniform(identity_hashes(owner_keys, seed=seed, purpose="place"), shards=shards, slices=slices)
    return homes_of_hashes(identity_hashes(ids, seed=seed, purpose="place"), partition, risks=risks)


def homes_of_hashes(
    hashes: Hashes, partition: PartitionConfig, *, risks: npt.NDArray[np.float64] | None = None
) -> tuple[Indices, Indices]:
    """Choose the home of every sample by the hash of what it is placed by: its id, or its owner for the policy `owner`.

    Args:
        hashes: (samples,) uint64, for the purpose "place".
        partition: The settings of the run.
        risks: (samples,) revocation probabilities within [0, 1], for the policy `risk`.

    Returns:
        Shards and slices, (samples,) int64.
    """
    shards, slices = partition.shards, partition.slices
    if partition.policy == "risk":
        assert risks is not None
        return place_by_risk(hashes, risks, shards=shards, bands=partition.risk_bands or equal_bands(slices))
    return place_uniform(hashes, shards=shards, slices=slices)


def identity_hashes(identities: Iterable[SampleId] | npt.NDArray[np.int64], *, seed: int, purpose: str) -> Hashes:
    """Hash ids or owners with a key (BLAKE2b, RFC 7693). The integer 7 and the text "7" have different hashes.

    The key derives from the seed and is not secret. `raymu/service/pseudonyms.py` has the hashes that hide an id.

    Args:
        identities: Ids or owners. An array of integers is the quickest; `raymu/data/id_hashes.py` has text of Arrow's.
        seed: The run's seed, which the key is derived from.
        purpose: Name of the use, such as "place", which the key is derived from too.

    Returns:
        (identities,) uint64.
    """
    return hashes_with_key(identities, key=hash_key(seed=seed, purpose=purpose))


def hashes_with_key(identities: Iterable[SampleId] | npt.NDArray[np.int64], *, key: bytes) -> Hashes:
    """Hash ids or owners with a key of `KEY_BYTES` bytes. Returns (identities,) uint64."""
    if isinstance(identities, np.ndarray) and identities.dtype.kind == "i":
        messages = decimal_messages(identities.astype(np.int64, copy=False), prefix=INTEGER)
    else:
        messages = Messages.of([_canonical(identity) for identity in identities])
    return keyed_hashes(messages, key=key)


def hash_key(*, seed: int, purpose: str) -> bytes:
    """Return the key of the hashes of ids, which the seed and the name of the use decide."""
    return hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=KEY_BYTES).digest()


def _canonical(identity: SampleId) -> bytes:
    return TEXT + identity.encode() if isinstance(identity, str) else INTEGER + b"%d" % identity


def bucket(hashes: Hashes, parts: int) -> Indices:
    """Assign each hash to one of `parts` equal buckets by its upper half. Returns (hashes,) int64 within [0, parts)."""
    return (((hashes >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32)).astype(np.int64)


def place_uniform(hashes: Hashes, *, shards: int, slices: int) -> tuple[Indices, Indices]:
    """Choose the shard by the upper half of the hash, the slice by the lower. Returns both, (hashes,) int64."""
    return bucket(hashes, shards), bucket((hashes & _LOW_32) << np.uint64(32), slices)


def place_by_risk(
    hashes: Hashes, risks: npt.NDArray[np.float64], *, shards: int, bands: Sequence[float]
) -> tuple[Indices, Indices]:
    """Choose the shard by hash, and the slice by the revocation probability: likely leavers are in late slices.

    Args:
        hashes: (samples,) uint64.
        risks: (samples,) revocation probabilities within [0, 1].
        shards: Number of shards.
        bands: Ascending upper bounds of the slices' probabilities, without that of the last slice.

    Returns:
        Shards and slices, (samples,) int64.
    """
    return bucket(hashes, shards), np.searchsorted(np.asarray(bands), risks, side="right").astype(np.int64)


def equal_bands(slices: int) -> tuple[float, ...]:
    """Return the bounds between as many equal bands of [0, 1] as there are slices."""
    return tuple((band + 1) / slices for band in range(slices - 1))


def derive_seed(seed: int, *identity: int | str) -> int:
    """Derive a 63-bit seed from the run's seed and an identity, such as shard, stage, epoch and purpose."""
    text = "/".join(str(part) for part in (seed, *identity))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def epoch_order(hashes: Hashes, *, seed: int) -> Indices:
    """Order samples by a hash of (sample, seed), so that removing one never permutes the others.

    Args:
        hashes: (samples,) uint64, distinct.
        seed: Seed of the epoch.

    Returns:
        (samples,) int64 indices in training order.
    """
    return np.argsort(splitmix64(hashes ^ np.uint64(seed)), kind="stable")


def keyed_uniforms(hashes: Hashes, *, seed: int) -> npt.NDArray[np.float64]:
    """Derive a number within [0, 1) from each (hash, seed). Returns (hashes,) float64."""
    high = splitmix64(hashes ^ np.uint64(seed)) >> np.uint64(11)  # as many bits as a float64 holds
    return high.astype(np.float64) * 2.0**-53


def fixed_batches(hashes: Hashes, *, batches: int) -> Indices:
    """Assign each sample to a batch of its slice that never changes. Returns (samples,) int64 within [0, batches)."""
    return bucket(splitmix64(hashes), batches)


def splitmix64(values: Hashes) -> Hashes:
    """Apply the finalizer of SplitMix64 (Steele et al., OOPSLA 2014), a bijection: distinct values stay distinct."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def descent_digest(hashes: Hashes, *, key: bytes) -> str:
    """Return the keyed digest of the samples that a state descends from, in hex.

    Args:
        hashes: (samples,) uint64, in any order.
        key: The run's key.
    """
    return hmac.new(key, np.sort(hashes).tobytes(), hashlib.sha256).hexdigest()


def lane_of(shard: int, width: int) -> int:
    """Return the number of a shard's lane."""
    return shard // width
