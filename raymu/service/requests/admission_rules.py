"""The rules by which one request is accepted or refused."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import uuid4

from raymu.config.unlearning import Boundary, Strategy
from raymu.core.records import SampleId
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.errors import (
    IdempotencyConflict,
    RaymuError,
    RequestInvalid,
    SamplesRevoked,
    SeveralFaults,
    UnknownOwner,
    UnknownSamples,
)
from raymu.service.requests.revocation import Ignored, Revocation, SubmissionResult
from raymu.store.codec import canonical_json
from raymu.text import one_line, plural

DUE_AFTER = timedelta(days=30)
"""Time after which a request is due if it does not say when. Data protection law allows about a month."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmittedRequest:
    """A request that can be accepted."""

    request: RevocationRequest
    """The request as the board gets it."""
    key: str | None
    """The idempotency key as the user wrote it."""
    forget: dict[int, tuple[SampleId, ...]]
    """Shard -> ids of the samples to forget."""
    owner: SampleId | None = None
    """The owner whose samples it revokes, as the request names it; None if it names samples."""
    ignored: Ignored | None = None
    """What the request named and left out; None if nothing."""


AdmissionResult: TypeAlias = AdmittedRequest | RevocationRequest | RaymuError
"""A request that can be accepted, the one that its key belongs to, or the reason for a refusal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestedSample:
    """A sample that a request names."""

    sample_id: SampleId
    pseudonym: str
    home: tuple[int, int] | None
    """Shard and slice; None if the run does not hold it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRequest:
    """A request whose samples were not looked up yet."""

    revocation: Revocation
    strategy: Strategy
    boundary: Boundary
    key: str | None
    """Pseudonym of the idempotency key."""
    owner: str | None
    """Pseudonym of the owner."""
    sample_ids: tuple[SampleId, ...]
    """Ids, of the type that the run's ids have, each once."""
    unknown: tuple[str, ...] = ()
    """What was named and cannot be an id of the run, if such ids are left out."""
    repeated: int = 0
    """Ids that were named more than once."""
    faults: tuple[RaymuError, ...] = ()
    """What is wrong with its form."""


def admit(
    parsed: ParsedRequest,
    samples: Sequence[RequestedSample],
    *,
    revoked: Mapping[str, str],
    by_key: Mapping[str, RevocationRequest],
    now: datetime,
) -> AdmittedRequest | RevocationRequest:
    """Accept a request, or raise the reasons for a refusal, in an order that does not depend on that of the ids.

    Args:
        parsed: The request.
        samples: The samples that it names.
        revoked: Pseudonym of a sample or an owner -> id of the request that revoked it.
        by_key: Pseudonym of an idempotency key -> the request that it belongs to.
        now: The current time.

    Raises:
        RaymuError: IdempotencyConflict, RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked with the ids of the
            earlier requests, or SeveralFaults.
    """
    revocation, faults = parsed.revocation, list(parsed.faults)
    pseudonyms = tuple(sample.pseudonym for sample in samples) if parsed.owner is None else (parsed.owner,)
    payload_sha256 = _payload_sha256(revocation, pseudonyms)
    # Events of older versions hold the key itself, and cannot change, because they are sealed.
    earlier = by_key.get(parsed.key or "") or by_key.get(revocation.key or "")
    if earlier and revocation.key and not faults:
        if earlier.payload_sha256 == payload_sha256:
            return earlier
        raise IdempotencyConflict(revocation.key, earlier.request_id)
    left = [sample for sample in samples if sample.pseudonym not in revoked]  # an owner stands for those that are left
    held = [sample for sample in left if sample.home is not None]
    absent = _absent(parsed, samples, revoked=revoked, pseudonyms=pseudonyms, has_rest=bool(held))
    if faults or (absent and not (revocation.ignore_unknown and held and parsed.owner is None)):
        raise _as_one([*faults, *absent])
    forget: dict[int, list[SampleId]] = {}
    slices: dict[int, Counter[int]] = {}
    for sample in held:
        shard, slice_index = sample.home or (-1, -1)
        forget.setdefault(shard, []).append(sample.sample_id)
        slices.setdefault(shard, Counter())[slice_index] += 1
    own = (parsed.owner,) if parsed.owner else ()
    request = RevocationRequest(
        request_id=f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:12]}",
        payload_sha256=payload_sha256,
        key=parsed.key,
        strategy=parsed.strategy,
        boundary=parsed.boundary,
        received_at=now,
        due_at=revocation.due or now + DUE_AFTER,
        forget=tuple(
            ForgetSet(shard=shard, samples_by_slice=dict(sorted(slices[shard].items()))) for shard in sorted(forget)
        ),
        hashes=tuple(sorted({*own, *(sample.pseudonym for sample in held)})),
    )
    return AdmittedRequest(
        request=request,
        key=revocation.key,
        forget={shard: tuple(ids) for shard, ids in forget.items()},
        owner=revocation.owner,
        ignored=_ignored(absent, parsed.repeated),
    )


def _absent(
    parsed: ParsedRequest,
    samples: Sequence[RequestedSample],
    *,
    revoked: Mapping[str, str],
    pseudonyms: Sequence[str],
    has_rest: bool,
) -> list[RaymuError]:
    """Return what of a request is revoked already, and then what is unknown."""
    earlier = [revoked[pseudonym] for pseudonym in pseudonyms if pseudonym in revoked]
    if parsed.owner is not None:
        has_rest = False
    if parsed.owner is not None and not earlier:
        if any(sample.pseudonym not in revoked for sample in samples):
            return []
        earlier = [revoked[sample.pseudonym] for sample in samples]
        if not earlier:
            return [UnknownOwner(str(parsed.revocation.owner))]
    unknown = [str(sample.sample_id) for sample in samples if sample.home is None and sample.pseudonym not in revoked]
    unknown = sorted([*unknown, *parsed.unknown], key=lambda text: (len(text), text))
    return [
        *([SamplesRevoked(len(earlier), sorted(set(earlier)), has_rest=has_rest and not unknown)] if earlier else []),
        *([UnknownSamples(unknown[:3], len(unknown), has_rest=has_rest)] if unknown else []),
    ]


def _as_one(faults: Sequence[RaymuError]) -> RaymuError:
    return faults[0] if len(faults) == 1 else SeveralFaults(faults)


def _ignored(absent: Sequence[RaymuError], repeated: int) -> Ignored | None:
    """Return what an accepted request leaves out; None if nothing."""
    ignored = Ignored(repeated=repeated)
    for fault in absent:
        if isinstance(fault, SamplesRevoked):
            ignored = replace(ignored, revoked=fault.count, request_ids=fault.request_ids)
        elif isinstance(fault, UnknownSamples):
            ignored = replace(ignored, unknown=fault.count, unknown_shown=fault.shown)
    return None if ignored == Ignored() else ignored


def submission_result(admission: AdmissionResult) -> SubmissionResult:
    """Return what the user gets for an admission."""
    match admission:
        case AdmittedRequest(request=request, ignored=ignored):
            return SubmissionResult(request_id=request.request_id, ignored=ignored, came_overdue=request.came_overdue)
        case RevocationRequest():
            return SubmissionResult(request_id=admission.request_id)
        case _:
            return SubmissionResult(refusal=admission)


def require_disjoint(admitted: Sequence[AdmittedRequest]) -> None:
    """Raise RequestInvalid if two requests that are accepted together have the same key, or name the same sample."""
    keys = Counter(admission.key for admission in admitted if admission.key)
    for key, count in keys.items():
        if count > 1:
            raise RequestInvalid(f"key {key!r} is given to more than one of these requests; give each its own")
    counts = Counter(pseudonym for admission in admitted for pseudonym in admission.request.hashes)
    twice = sum(count > 1 for count in counts.values())
    if twice:
        raise RequestInvalid(f"more than one of these requests names {plural(twice, 'sample')}; name each sample once")


def _payload_sha256(revocation: Revocation, pseudonyms: Sequence[str]) -> str:
    """Hash the content of a request, whether or not the run still has the samples."""
    payload = {
        "named": sorted(pseudonyms),
        "strategy": revocation.strategy,
        "boundary": None if revocation.boundary is None else str(revocation.boundary),
    }
    return hashlib.sha256(canonical_json(payload)).hexdigest()


def chosen_strategy(name: str) -> Strategy:
    """Parse the name of a strategy. Raises RequestInvalid."""
    try:
        return Strategy(name)
    except ValueError:
        raise RequestInvalid(f"{one_line(repr(name))} is not a strategy; choose among {', '.join(Strategy)}") from None


def chosen_boundary(boundary: float | str) -> Boundary:
    """Parse a hybrid boundary. Raises RequestInvalid."""
    try:
        return Boundary.parse(boundary)
    except ValueError as error:
        raise RequestInvalid(one_line(error)) from None
