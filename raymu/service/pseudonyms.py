"""Names of samples, owners and requests as keyed hashes, which stay when the names themselves are purged."""

import hmac
from collections.abc import Collection, Iterator, Mapping

from raymu.core.records import SampleId
from raymu.core.requests import RevocationRequest
from raymu.store.journal.journal import Journal
from raymu.text import plural


def sample_name(sample_id: SampleId) -> str:
    return f"id/{sample_id}"


def owner_name(owner: SampleId) -> str:
    return f"owner/{owner}"


def key_name(key: str) -> str:
    """Of an idempotency key: it may name the person whose samples are revoked."""
    return f"key/{key}"


def pseudonym(name: str, key: bytes) -> str:
    """HMAC-SHA256 (RFC 2104), hex. key: of the run; without it the hash says nothing"""
    return hmac.digest(key, name.encode(), "sha256").hex()


KeptPseudonym = Mapping[str, Mapping[int, frozenset[str]]]
"""request -> shard -> keyed hashes of the raw ids that are kept"""


def kept_pseudonyms(journal: Journal, *, key: bytes) -> KeptPseudonym:
    """key: of the run. Raises FileCorrupt."""
    return {
        request_id: {
            shard: frozenset(pseudonym(sample_name(one), key) for one in ids) for shard, ids in by_shard.items()
        }
        for request_id, by_shard in journal.raw_ids().items()
    }


def pseudonym_mismatches(
    kept: KeptPseudonym,
    revoked: Mapping[str, str],
    accepted: Mapping[str, RevocationRequest],
    *,
    purged: Collection[str],
) -> Iterator[str]:
    """What is wrong. revoked: keyed hash -> request, as it is kept; accepted: by request"""
    if revoked != revoked_by(accepted):
        yield "the keyed hashes of revoked samples are not those of the accepted requests"
    unpurged = accepted.keys() - set(purged)
    are_others = {one for one in kept.keys() & unpurged if not _is_named(accepted[one], kept[one])}
    for request_ids, what in (
        (kept.keys() - unpurged, "kept, though purged, or never accepted"),
        (unpurged - kept.keys(), "lost, though not purged"),
        (are_others, "not those that were accepted"),
    ):
        if request_ids:
            yield f"raw ids of {plural(len(request_ids), 'request')} are {what}, such as of {min(request_ids)}"


def revoked_by(accepted: Mapping[str, RevocationRequest]) -> dict[str, str]:
    """returns: keyed hash -> request"""
    return {one: request.request_id for request in accepted.values() for one in request.hashes}


def _is_named(request: RevocationRequest, kept: Mapping[int, frozenset[str]]) -> bool:
    counts = {shard: len(hashes) for shard, hashes in kept.items()}
    hashes = frozenset[str]().union(*kept.values())
    return counts == {part.shard: part.samples for part in request.forget} and hashes <= set(request.hashes)
