"""Admission of requests in bulk, by the samples that the run holds and those that were revoked."""

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from raymu.core.records import SampleId
from raymu.core.requests import RevocationRequest
from raymu.data.ids import as_sample_ids
from raymu.errors import RaymuError, RequestInvalid
from raymu.service.history import History
from raymu.service.pseudonyms import identity_text, pseudonym
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
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.requests.sample_index import LazySampleIndex
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from raymu.text import one_line, plural

Value = TypeVar("Value")


class Admission:
    """Accepts or refuses requests in bulk. It writes nothing."""

    def __init__(
        self, store: RunStore, journal: Journal, history: History, samples: LazySampleIndex | None = None
    ) -> None:
        """Admit requests by a run's history.

        Args:
            store: The run.
            journal: Its journal, which may be read-only.
            history: All events up to now.
            samples: The samples that the run holds, if others purge them.
        """
        self._store, self._journal = store, journal
        self._by_key = dict(history.requests_by_key)
        self._samples = samples or LazySampleIndex(store, lambda: history.board.tables)

    def remember(self, requests: Iterable[RevocationRequest]) -> None:
        """Remember the idempotency keys of requests that were committed."""
        self._by_key.update({request.key: request for request in requests if request.key})

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
        well_formed = [request for request in parsed if isinstance(request, ParsedRequest)]
        samples = self._requested_samples(sample_id for request in well_formed for sample_id in request.sample_ids)
        owners = [request.owner for request in well_formed if request.owner is not None]
        revoked = self._journal.revoked_by([*owners, *(sample.pseudonym for sample in samples.values())])
        by_key: ChainMap[str, RevocationRequest] = ChainMap({}, self._by_key)
        admissions: list[AdmissionResult] = []
        for request in parsed:
            admission: AdmissionResult
            if isinstance(request, RaymuError):
                admission = request
            else:
                named = [samples[sample_id] for sample_id in request.sample_ids]
                admission = _attempt(partial(admit, request, named, revoked=revoked, by_key=by_key, now=now))
            if isinstance(admission, AdmittedRequest):
                accepted = admission.request
                revoked.update(dict.fromkeys(accepted.hashes, accepted.request_id))
                if accepted.key is not None:
                    by_key[accepted.key] = accepted
            admissions.append(admission)
        return admissions

    def _parse_all(self, revocations: Sequence[Revocation]) -> list[ParsedRequest | RaymuError]:
        owners = list({str(revocation.owner) for revocation in revocations if revocation.owner is not None})
        owned = dict(zip(owners, self._samples.get().owned_by(owners), strict=True))
        return [_attempt(partial(self._parse, revocation, owned)) for revocation in revocations]

    def _parse(self, revocation: Revocation, owned: Mapping[str, Sequence[SampleId]]) -> ParsedRequest:
        """Check the form of a request. `owned` has the ids of each owner's remaining samples. Raises RequestInvalid."""
        config = self._store.config
        strategy = config.unlearning.strategy if revocation.strategy is None else chosen_strategy(revocation.strategy)
        boundary = config.unlearning.boundary if revocation.boundary is None else chosen_boundary(revocation.boundary)
        if (revocation.owner is None) == (not revocation.ids):
            raise RequestInvalid("name samples by id, or an owner: a request needs one of them, and not both")
        if revocation.owner is not None:
            if config.data.owner is None:
                raise RequestInvalid("this run knows no owners: it was trained without data.owner; name samples by id")
            owner, sample_ids = self._pseudonym(identity_text("owner", revocation.owner)), owned[str(revocation.owner)]
        else:
            owner, sample_ids = None, as_sample_ids(revocation.ids, integers=self._store.manifest.has_integer_ids)
            _require_distinct(sample_ids)
        return ParsedRequest(
            revocation=revocation,
            strategy=strategy,
            boundary=boundary,
            key=self._pseudonym(identity_text("key", revocation.key)) if revocation.key else None,
            owner=owner,
            sample_ids=tuple(sample_ids),
        )

    def _requested_samples(self, sample_ids: Iterable[SampleId]) -> dict[SampleId, RequestedSample]:
        distinct = list(dict.fromkeys(sample_ids))
        return {
            sample_id: RequestedSample(
                sample_id=sample_id, pseudonym=self._pseudonym(identity_text("id", sample_id)), home=home
            )
            for sample_id, home in zip(distinct, self._samples.get().homes(distinct), strict=True)
        }

    def _pseudonym(self, text: str) -> str:
        return pseudonym(text, self._store.keys.hash_key)


def _attempt(work: Callable[[], Value]) -> Value | RaymuError:
    """Return the result, or the error that refuses the request."""
    try:
        return work()
    except RaymuError as refusal:
        return refusal.with_traceback(None)  # its frames would keep the whole submission in memory


def _require_distinct(sample_ids: Sequence[SampleId]) -> None:
    if len(set(sample_ids)) < len(sample_ids):
        twice = [str(sample_id) for sample_id, count in Counter(sample_ids).items() if count > 1]
        shown = one_line(", ".join(twice[:3]))
        raise RequestInvalid(f"the request names {plural(len(twice), 'id')} twice ({shown}); name each sample once")
