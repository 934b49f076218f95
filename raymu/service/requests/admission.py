"""Admission of requests in bulk, by the samples that the run holds and those that were revoked."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from raymu.core.records import SampleId
from raymu.data.ids import as_sample_id
from raymu.errors import RaymuError, RequestInvalid
from raymu.service.history import History
from raymu.service.pseudonyms import identity_text, key_forms, pseudonym
from raymu.service.requests.admission_rules import (
    AdmissionResult,
    AdmittedRequest,
    ParsedRequest,
    RequestedSample,
    admit,
    chosen_boundary,
    chosen_strategy,
    require_disjoint,
    submission_result,
)
from raymu.service.requests.identities import Identities, Owned
from raymu.service.requests.revocation import Revocation, SubmissionResult, some_of
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.run import RunStore
from raymu.text import plural

Value = TypeVar("Value")


class Admission:
    """Accepts or refuses requests in bulk. It writes nothing."""

    def __init__(
        self, store: RunStore, journal: JournalReader, history: History, samples: SampleIndex | None = None
    ) -> None:
        """Admit requests by a run's history.

        Args:
            store: The run.
            journal: Its journal, which may be read-only.
            history: All events up to now.
            samples: The samples that the run holds, if others use them too.
        """
        self._store, self._journal = store, journal
        board = history.board
        self._samples = samples or SampleIndex(store, board.samples_of, added_routes=lambda: board.added_routes)

    def admit_together(
        self, revocations: Sequence[Revocation], *, now: datetime
    ) -> tuple[list[AdmittedRequest], list[SubmissionResult]]:
        """Admit all of these requests or none.

        Returns:
            The requests to accept, without those whose keys belong to accepted ones; and the result of each request.

        Raises:
            RaymuError: RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked, IdempotencyConflict, FileMissing or
                FileCorrupt.
        """
        admissions = [admission for revocation in revocations for admission in self.admit([revocation], now=now)]
        refusals = [admission for admission in admissions if isinstance(admission, RaymuError)]
        if refusals:
            raise refusals[0]
        admitted = [admission for admission in admissions if isinstance(admission, AdmittedRequest)]
        require_disjoint(admitted)
        return admitted, [submission_result(admission) for admission in admissions]

    def admit(self, revocations: Sequence[Revocation], *, now: datetime) -> list[AdmissionResult]:
        """Admit each request as if those before it had been accepted. Raises FileMissing, FileCorrupt."""
        parsed = self._parse_all(revocations)
        samples = self._requested_samples(sample_id for request in parsed for sample_id in request.sample_ids)
        owners = [request.owner for request in parsed if request.owner is not None]
        revoked = self._journal.revoked_by([*owners, *(sample.pseudonym for sample in samples.values())])
        keys = [revocation.key for revocation in revocations if revocation.key]
        by_key = self._journal.requests_by_key(
            [form for key in keys for form in key_forms(key, self._store.keys.hash_key)]
        )
        admissions: list[AdmissionResult] = []
        for request in parsed:
            named = [samples[sample_id] for sample_id in request.sample_ids]
            admission = _attempt(partial(admit, request, named, revoked=revoked, by_key=by_key, now=now))
            if isinstance(admission, AdmittedRequest):
                accepted = admission.request
                revoked.update(dict.fromkeys(accepted.hashes, accepted.request_id))
                if accepted.key is not None:
                    by_key[accepted.key] = accepted
            admissions.append(admission)
        return admissions

    def _parse_all(self, revocations: Sequence[Revocation]) -> list[ParsedRequest]:
        identities = Identities(self._samples, self._journal, self._store)
        owned = identities.owned_by([revocation.owner for revocation in revocations if revocation.owner is not None])
        verbatim = set[str]()
        if not self._store.manifest.has_integer_ids:
            verbatim = identities.verbatim(sample_id for revocation in revocations for sample_id in revocation.ids)
        parsed = [self._parse(revocation, owned, verbatim) for revocation in revocations]
        spelled = identities.spelled(sample_id for request in parsed for sample_id in request.sample_ids)
        return [_with_spellings(request, spelled) for request in parsed]

    def _parse(
        self, revocation: Revocation, owned: Mapping[SampleId, Owned], verbatim: Collection[str]
    ) -> ParsedRequest:
        """Check the form of a request.

        Args:
            revocation: The request.
            owned: What the run knows of each owner.
            verbatim: Ids that the run knows as they are given.
        """
        config = self._store.config
        faults: list[RaymuError] = []
        strategy, boundary = config.unlearning.strategy, config.unlearning.boundary
        if (revocation.owner is None) == (not revocation.ids):
            faults.append(RequestInvalid("name samples by id, or an owner: a request needs one of them, and not both"))
        elif revocation.owner is not None and config.data.owner is None:
            faults.append(
                RequestInvalid("this run knows no owners: it was trained without data.owner; name samples by id")
            )
        try:
            strategy = strategy if revocation.strategy is None else chosen_strategy(revocation.strategy)
        except RequestInvalid as fault:
            faults.append(fault)
        try:
            boundary = boundary if revocation.boundary is None else chosen_boundary(revocation.boundary)
        except RequestInvalid as fault:
            faults.append(fault)
        owner, sample_ids, unknown = None, list[SampleId](), list[str]()
        if revocation.owner is not None and not faults:
            owner, sample_ids = owned[revocation.owner].pseudonym, list(owned[revocation.owner].sample_ids)
        elif revocation.owner is None:
            sample_ids, unknown, misfits = self._converted(revocation.ids, verbatim)
            if not revocation.ignore_unknown:
                unknown, faults = [], [*faults, *misfits[:1]]
        return ParsedRequest(
            revocation=revocation,
            strategy=strategy,
            boundary=boundary,
            key=self._pseudonym(identity_text("key", revocation.key)) if revocation.key else None,
            owner=owner,
            sample_ids=tuple(sample_ids),
            unknown=tuple(unknown),
            faults=tuple(fault.with_traceback(None) for fault in faults),
        )

    def _converted(
        self, ids: Iterable[SampleId], verbatim: Collection[str]
    ) -> tuple[list[SampleId], list[str], list[RequestInvalid]]:
        """Convert ids to those of the run. Returns them, then those that are none as text, and why."""
        converted: list[SampleId] = []
        unknown: list[str] = []
        misfits: list[RequestInvalid] = []
        for sample_id in ids:
            if isinstance(sample_id, str) and sample_id in verbatim:
                converted.append(sample_id)
                continue
            try:
                converted.append(as_sample_id(sample_id, integers=self._store.manifest.has_integer_ids))
            except RequestInvalid as misfit:
                unknown.append(str(sample_id))
                misfits.append(misfit)
        return converted, unknown, sorted(misfits, key=str)

    def _requested_samples(self, sample_ids: Iterable[SampleId]) -> dict[SampleId, RequestedSample]:
        distinct = list(dict.fromkeys(sample_ids))
        return {
            sample_id: RequestedSample(
                sample_id=sample_id, pseudonym=self._pseudonym(identity_text("id", sample_id)), home=home
            )
            for sample_id, home in zip(distinct, self._samples.homes(distinct), strict=True)
        }

    def _pseudonym(self, text: str) -> str:
        return pseudonym(text, self._store.keys.hash_key)


def _attempt(work: Callable[[], Value]) -> Value | RaymuError:
    """Return the result, or the error that refuses the request."""
    try:
        return work()
    except RaymuError as refusal:
        return refusal.with_traceback(None)  # its frames would keep the whole submission in memory


def _with_spellings(request: ParsedRequest, spelled: Mapping[SampleId, SampleId]) -> ParsedRequest:
    """Return a request with each id once, as the run spells it. Ids that are named twice are a fault, unless left out."""
    counts = Counter(spelled.get(sample_id, sample_id) for sample_id in request.sample_ids)
    twice = sorted(
        (str(sample_id) for sample_id, count in counts.items() if count > 1), key=lambda text: (len(text), text)
    )
    faults = request.faults
    if twice and not request.revocation.ignore_unknown:
        faults += (
            RequestInvalid(
                f"the request names {plural(len(twice), 'id')} twice ({some_of(twice)}); name each sample once, or add "
                "--ignore-unknown"
            ),
        )
    return replace(request, sample_ids=tuple(counts), repeated=len(twice), faults=faults)
