"""Where requests come in: each is held against the samples that the run holds, and those that it held."""

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
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.requests.rules import (
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
from raymu.service.requests.sample_index import LazySampleIndex
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from raymu.text import one_line, plural

Sound = TypeVar("Sound")


class Admission:
    """Judges requests in bulk, and writes nothing."""

    def __init__(
        self, store: RunStore, journal: Journal, history: History, samples: LazySampleIndex | None = None
    ) -> None:
        """Judge by a run's history.

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
        """These are accepted: from here on they answer to their keys."""
        self._by_key.update({request.key: request for request in requests if request.key})

    def admit_together(
        self, asked: Sequence[Revocation], *, now: datetime
    ) -> tuple[list[AdmittedRequest], list[SubmissionResult]]:
        """Requests that are accepted all or none. returns: those that are to be accepted, and what each is told

        Raises RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked, IdempotencyConflict, FileMissing, FileCorrupt.
        """
        judgements = [judgement for one in asked for judgement in self.admit([one], now=now)]
        refusals = [one for one in judgements if isinstance(one, RaymuError)]
        if refusals:
            raise refusals[0]
        resolved = [one for one in judgements if isinstance(one, AdmittedRequest)]
        require_disjoint(resolved)
        return resolved, [submission_result(one) for one in judgements]

    def admit(self, asked: Sequence[Revocation], *, now: datetime) -> list[AdmissionResult]:
        """Each request as if those before it that can be accepted were. Raises FileMissing, FileCorrupt."""
        read = self._read(asked)
        sound = [one for one in read if isinstance(one, ParsedRequest)]
        samples = self._named(sample_id for one in sound for sample_id in one.sample_ids)
        owners = [one.owner for one in sound if one.owner is not None]
        revoked = self._journal.revoked_by([*owners, *(sample.name for sample in samples.values())])
        keyed: ChainMap[str, RevocationRequest] = ChainMap({}, self._by_key)
        judgements: list[AdmissionResult] = []
        for one in read:
            judgement: AdmissionResult
            if isinstance(one, RaymuError):
                judgement = one
            else:
                named = [samples[sample_id] for sample_id in one.sample_ids]
                judgement = _attempt(partial(admit, one, named, revoked=revoked, by_key=keyed, now=now))
            if isinstance(judgement, AdmittedRequest):
                request = judgement.request
                revoked.update(dict.fromkeys(request.hashes, request.request_id))
                if request.key is not None:
                    keyed[request.key] = request
            judgements.append(judgement)
        return judgements

    def _read(self, asked: Sequence[Revocation]) -> list[ParsedRequest | RaymuError]:
        owners = list({str(one.owner) for one in asked if one.owner is not None})
        owned = dict(zip(owners, self._samples.get().owned_by(owners), strict=True))
        return [_attempt(partial(self._well_formed, one, owned)) for one in asked]

    def _well_formed(self, asked: Revocation, owned: Mapping[str, Sequence[SampleId]]) -> ParsedRequest:
        """owned: owner -> ids of the samples that are left. Raises RequestInvalid."""
        config = self._store.config
        strategy = config.unlearning.strategy if asked.strategy is None else chosen_strategy(asked.strategy)
        boundary = config.unlearning.boundary if asked.boundary is None else chosen_boundary(asked.boundary)
        if (asked.owner is None) == (not asked.ids):
            raise RequestInvalid("name samples by id, or an owner: a request needs one of them, and not both")
        if asked.owner is not None:
            if config.data.owner is None:
                raise RequestInvalid("this run knows no owners: it was trained without data.owner; name samples by id")
            owner, sample_ids = self._keyed(identity_text("owner", asked.owner)), owned[str(asked.owner)]
        else:
            owner, sample_ids = None, as_sample_ids(asked.ids, integers=self._store.manifest.has_integer_ids)
            _require_distinct(sample_ids)
        return ParsedRequest(
            asked=asked,
            strategy=strategy,
            boundary=boundary,
            key=self._keyed(identity_text("key", asked.key)) if asked.key else None,
            owner=owner,
            sample_ids=tuple(sample_ids),
        )

    def _named(self, sample_ids: Iterable[SampleId]) -> dict[SampleId, RequestedSample]:
        distinct = list(dict.fromkeys(sample_ids))
        return {
            sample_id: RequestedSample(
                sample_id=sample_id, name=self._keyed(identity_text("id", sample_id)), place=place
            )
            for sample_id, place in zip(distinct, self._samples.get().places(distinct), strict=True)
        }

    def _keyed(self, name: str) -> str:
        return pseudonym(name, self._store.keys.hash_key)


def _attempt(read: Callable[[], Sound]) -> Sound | RaymuError:
    try:
        return read()
    except RaymuError as refusal:
        return refusal.with_traceback(None)  # its frames would hold on to everything that was submitted with it


def _require_distinct(sample_ids: Sequence[SampleId]) -> None:
    if len(set(sample_ids)) < len(sample_ids):
        twice = [str(sample_id) for sample_id, count in Counter(sample_ids).items() if count > 1]
        shown = one_line(", ".join(twice[:3]))
        raise RequestInvalid(f"the request names {plural(len(twice), 'id')} twice ({shown}); name each sample once")
