"""Calls whose coordinator was lost before it answered: the journal says what stays of them."""

from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any

from raymu.core.events import RevocationsAccepted
from raymu.errors import RaymuError, mark_unfinished
from raymu.service.coordinator.calls import Call, Revoke, Submit
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.service.requests.identities import id_forms, owner_forms
from raymu.service.requests.revocation import Revocation
from raymu.store.journal.event_chain import ChainHead
from raymu.store.run import RunStore


def mark_unanswered(
    error: BaseException, store: RunStore, call: Call[Any], before: tuple[int, ChainHead], *, is_own: bool
) -> None:
    """Mark the error of a call that got no answer with what the journal has of it, and what therefore stays.

    Args:
        error: The error.
        store: The run.
        call: The call.
        before: The position of the run when the call began.
        is_own: Whether no other process could change the run meanwhile.
    """
    with suppress(RaymuError), closing(store.journal(is_read_only=True)) as journal:
        events = [event for head, event in journal.sealed_events() if head.sequence > before[1].sequence]
        accepted = [request for event in events if isinstance(event, RevocationsAccepted) for request in event.requests]
        if isinstance(call, Revoke | Submit):
            named = _pseudonyms(call.revocations, store)
            own = [request for request in accepted if not named.isdisjoint(request.hashes)]
            if own := own or (accepted if is_own else []):
                mark_unfinished(error, [request.request_id for request in own])
        elif events:
            mark_unfinished(error)


def _pseudonyms(revocations: Sequence[Revocation], store: RunStore) -> set[str]:
    """Return the pseudonyms of all that requests name, in every form in which the run may know it."""
    key, integers = store.keys.hash_key, store.manifest.has_integer_ids
    owners = (form for request in revocations if request.owner is not None for form in owner_forms(request.owner))
    ids = (form for request in revocations for each in request.ids for form in id_forms(each, integers=integers))
    texts = [*(identity_text("owner", form) for form in owners), *(identity_text("id", form) for form in ids)]
    return {pseudonym(text, key) for text in texts}
