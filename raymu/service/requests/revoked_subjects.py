"""What a run tells the registry of revoked subjects, and what it takes from it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from raymu.core.records import FileRef, SampleId
from raymu.data.spellings import spellings
from raymu.errors import RunInvalid
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.service.requests.admission_rules import AdmittedRequest
from raymu.service.requests.revocation import Revocation
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.registry import Registry, RevokedSubject
from raymu.store.run import RunStore
from raymu.text import plural


def revoked_subjects(admitted: Sequence[AdmittedRequest], key: bytes) -> list[RevokedSubject]:
    """Return the samples and owners that requests revoke.

    Args:
        admitted: The requests.
        key: The key of the registry.
    """
    return [
        RevokedSubject(name=pseudonym(text, key), request_id=admission.request.request_id)
        for admission in admitted
        for text in _identities(admission)
    ]


def lost_requests(registry: Registry, journal: JournalReader, *, run: str) -> Mapping[str, frozenset[str]]:
    """Return the requests of a run that the registry knows and its journal lacks: request -> names.

    Such a run is an older copy, or its coordinator was killed between the two. A copy lacks the newest requests, so looking
    for the newest is enough to know that none is missing. Raises StorageFailed.
    """
    newest = registry.newest_request_of(run)
    if newest is None or journal.has_revoked_for(newest):
        return {}
    accepted = frozenset(journal.revoked().values())
    return {request_id: names for request_id, names in registry.requests_of(run).items() if request_id not in accepted}


def repeated_revocations(
    store: RunStore, tables: Sequence[FileRef], lost: Mapping[str, frozenset[str]], key: bytes
) -> list[Revocation]:
    """Return requests for those samples of lost requests that the run holds. All samples of the run are looked at.

    Args:
        store: The run.
        tables: The table of each shard.
        lost: The requests: request -> names.
        key: The key of the registry.

    Raises FileMissing, FileCorrupt.
    """
    request_of = {name: request_id for request_id, names in lost.items() for name in names}
    ids: dict[str, list[SampleId]] = {request_id: [] for request_id in lost}
    for table in tables:
        for sample_id in store.samples.read_table(table, ["id"])["id"].to_pylist():
            names = (pseudonym(identity_text("id", form), key) for form in spellings(sample_id))
            if request_id := next((request_of[name] for name in names if name in request_of), None):
                ids[request_id].append(sample_id)
    return [Revocation(ids=tuple(held), ignore_unknown=True) for held in ids.values() if held]


def require_all_registered(store: RunStore) -> None:
    """Raise RunInvalid if the registry knows requests that the run lacks: it may serve samples that were revoked.

    Raises StorageFailed if the registry is out of reach.
    """
    config = store.config.registry
    if config is None:
        return
    store.require_trusted("registry")
    with closing(Registry(config)) as registry, closing(store.journal(is_read_only=True)) as journal:
        lost = lost_requests(registry, journal, run=store.manifest.run_id)
    if lost:
        raise RunInvalid(
            store.files.display_location,
            f"lacks {plural(len(lost), 'request')} that the registry has: an older copy of the run was restored, which may "
            "serve samples that were revoked since; run `raymu settle`, which revokes them again",
        )


def _identities(admission: AdmittedRequest) -> Iterator[str]:
    if admission.owner is not None:
        yield identity_text("owner", admission.owner)
    for sample_ids in admission.forget.values():
        for sample_id in sample_ids:
            yield identity_text("id", sample_id)
