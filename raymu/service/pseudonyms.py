"""Pseudonyms: keyed hashes that stand for sample ids, owners and idempotency keys after these are purged.

`identity_hashes` in `raymu/core/partition.py` is another hash of ids. It places and orders samples, and is not secret.
"""

import hmac
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from raymu.core.records import SampleId
from raymu.core.requests import RevocationRequest
from raymu.store.journal.journal_reader import JournalReader
from raymu.text import plural

Kind = Literal["id", "owner", "key"]


def identity_text(kind: Kind, value: SampleId) -> str:
    """Return the text whose hash stands for a sample's id, an owner or an idempotency key, which may name a person."""
    return f"{kind}/{value}"


def pseudonym(text: str, key: bytes) -> str:
    """Return the hex HMAC-SHA256 (RFC 2104) of an identity text. Without the run's key it reveals nothing."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def key_forms(idempotency_key: str, key: bytes) -> tuple[str, str]:
    """Return what a journal may have of an idempotency key: its pseudonym, and in version 0.1 the key itself."""
    return pseudonym(identity_text("key", idempotency_key), key), idempotency_key


KeptPseudonym = Mapping[str, Mapping[int, frozenset[str]]]
"""request -> shard -> pseudonyms of the raw ids that the journal keeps"""


def kept_pseudonyms(journal: JournalReader, *, key: bytes) -> KeptPseudonym:
    """Read the raw ids that a journal keeps, and hash them with the run's key. Raises FileCorrupt."""
    return {
        request_id: {
            shard: frozenset(pseudonym(identity_text("id", sample_id), key) for sample_id in ids)
            for shard, ids in by_shard.items()
        }
        for request_id, by_shard in journal.raw_ids_of_requests().items()
    }


def pseudonym_mismatches(
    kept: KeptPseudonym,
    revoked: Mapping[str, str],
    accepted: Mapping[str, RevocationRequest],
    *,
    purged: Collection[str],
) -> Iterator[str]:
    """Compare the pseudonyms and raw ids that a journal keeps with the accepted requests.

    Args:
        kept: Pseudonyms of the raw ids.
        revoked: Pseudonym -> request, as the journal has it.
        accepted: All accepted requests by their ids.
        purged: Ids of the purged requests, whose raw ids must be gone.

    Yields:
        A sentence for each mismatch.
    """
    if revoked != revoked_by(accepted):
        yield "the keyed hashes of revoked samples are not those of the accepted requests"
    unpurged = accepted.keys() - set(purged)
    are_others = {
        request_id for request_id in kept.keys() & unpurged if not _matches(accepted[request_id], kept[request_id])
    }
    for request_ids, problem in (
        (kept.keys() - unpurged, "kept, though purged, or never accepted"),
        (unpurged - kept.keys(), "lost, though not purged"),
        (are_others, "not those that were accepted"),
    ):
        if request_ids:
            yield f"raw ids of {plural(len(request_ids), 'request')} are {problem}, such as of {min(request_ids)}"


def revoked_by(accepted: Mapping[str, RevocationRequest]) -> dict[str, str]:
    """Return which request revoked each pseudonym."""
    return {identity_hash: request.request_id for request in accepted.values() for identity_hash in request.hashes}


def _matches(request: RevocationRequest, kept: Mapping[int, frozenset[str]]) -> bool:
    counts = {shard: len(hashes) for shard, hashes in kept.items()}
    hashes = frozenset[str]().union(*kept.values())
    return counts == {part.shard: part.samples for part in request.forget} and hashes <= set(request.hashes)
