"""Where samples live and in which order they are trained on: keyed hashes of identity, nothing else.

Every function of a sample looks at that sample alone, so no sample's place, batch or rank among the others changes when
another one is removed.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from raymu.core.records import SampleId

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

_LOW_32 = np.uint64(0xFFFFFFFF)


def identity_hashes(identities: Iterable[SampleId], *, seed: int, purpose: str) -> Hashes:
    """Keyed 64-bit hashes (BLAKE2b, RFC 7693) of ids or owners; 7 and "7" differ.

    returns: (identities,) uint64
    """
    key = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=32).digest()
    digests = b"".join(
        hashlib.blake2b(_canonical(identity), key=key, digest_size=8).digest() for identity in identities
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _canonical(identity: SampleId) -> bytes:
    return b"s" + identity.encode() if isinstance(identity, str) else b"i%d" % identity


def spread(hashes: Hashes, parts: int) -> Positions:
    """A hash's part of [0, parts), by its upper half. returns: (hashes,) int64"""
    return (((hashes >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32)).astype(np.int64)


def place_uniform(hashes: Hashes, *, shards: int, slices: int) -> tuple[Positions, Positions]:
    """Shard by the upper half of the hash, slice by the lower. returns: two (hashes,) int64"""
    return spread(hashes, shards), spread((hashes & _LOW_32) << np.uint64(32), slices)


def place_by_risk(
    hashes: Hashes, risks: npt.NDArray[np.float64], *, shards: int, bands: Sequence[float]
) -> tuple[Positions, Positions]:
    """Shard by hash; slice by fixed bands of the revocation probability, so that likely leavers go to late slices.

    risks: (hashes,) within [0, 1]; bands: ascending upper bounds, one fewer than slices
    returns: two (hashes,) int64
    """
    return spread(hashes, shards), np.searchsorted(np.asarray(bands), risks, side="right").astype(np.int64)


def equal_bands(slices: int) -> tuple[float, ...]:
    """The bounds that cut [0, 1] into as many equal bands as slices."""
    return tuple((band + 1) / slices for band in range(slices - 1))


def derive_seed(seed: int, *identity: int | str) -> int:
    """A 63-bit seed from the run's seed and what it is for (shard, stage, epoch, purpose)."""
    text = "/".join(str(part) for part in (seed, *identity))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def epoch_order(hashes: Hashes, *, seed: int) -> Positions:
    """Rank samples by a hash of (sample, seed); removing one never permutes the others.

    hashes: (samples,) uint64, distinct
    returns: (samples,) int64 positions, in training order
    """
    return np.argsort(mix(hashes ^ np.uint64(seed)), kind="stable")


def draw_fractions(hashes: Hashes, *, seed: int) -> npt.NDArray[np.float64]:
    """A number within [0, 1) of each sample, by a hash of (sample, seed). returns: (hashes,) float64"""
    high = mix(hashes ^ np.uint64(seed)) >> np.uint64(11)  # as many bits as a float64 holds
    return high.astype(np.float64) * 2.0**-53


def fixed_batches(hashes: Hashes, *, batches: int) -> Positions:
    """The batch of its slice that a sample belongs to for life. returns: (samples,) int64 within [0, batches)"""
    return spread(mix(hashes), batches)


def mix(values: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele et al., OOPSLA 2014): a bijection, so distinct stay distinct."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def descent_digest(hashes: Hashes, *, key: bytes) -> str:
    """The digest of the samples that a state descends from. hashes: (samples,) uint64, in any order; key: of the run"""
    return hmac.new(key, np.sort(hashes).tobytes(), hashlib.sha256).hexdigest()
