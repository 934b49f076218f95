"""Requests found by what they revoked: a sample, an owner, or the idempotency key that they were sent with."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from raymu.core.records import SampleId
from raymu.service.pseudonyms import Kind, identity_text, key_forms, pseudonym
from raymu.service.requests.identities import id_forms, owner_forms
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundRequest:
    """The request of a sample, an owner or a key."""

    kind: Kind
    value: SampleId
    """As it was looked for."""
    request_id: str | None
    """None if no request has it."""


def find_requests(
    store: RunStore, *, ids: Sequence[SampleId] = (), owners: Sequence[SampleId] = (), keys: Sequence[str] = ()
) -> list[FoundRequest]:
    """Find the requests that revoked samples, named owners or have keys. They are compared by keyed hashes alone."""
    has_integer_ids, hash_key = store.manifest.has_integer_ids, store.keys.hash_key
    forms: list[tuple[Kind, SampleId, tuple[SampleId, ...]]] = [
        *(("id", sample_id, id_forms(sample_id, integers=has_integer_ids)) for sample_id in ids),
        *(("owner", owner, owner_forms(owner)) for owner in owners),
    ]
    hashes = {
        (kind, form): pseudonym(identity_text(kind, form), hash_key) for kind, _, several in forms for form in several
    }
    with closing(store.journal(is_read_only=True)) as journal:
        revoked = journal.revoked_by(list(hashes.values()))
        by_key = journal.requests_by_key([form for key in keys for form in key_forms(key, hash_key)])
    requests = [
        FoundRequest(
            kind=kind,
            value=value,
            request_id=next((revoked[each] for form in several if (each := hashes[kind, form]) in revoked), None),
        )
        for kind, value, several in forms
    ]
    for key in keys:
        request = next((by_key[form] for form in key_forms(key, hash_key) if form in by_key), None)
        requests.append(FoundRequest(kind="key", value=key, request_id=request.request_id if request else None))
    return requests
