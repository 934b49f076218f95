"""What a user asks, and the rules by which a request is accepted or refused."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import uuid4

from raymu.config.unlearning import Boundary, Strategy
from raymu.core.records import SampleId
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.errors import IdempotencyConflict, RaymuError, RequestInvalid, SamplesRevoked, UnknownOwner, UnknownSamples
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.store.codec import canonical_json
from raymu.text import one_line, plural

DUE_AFTER = timedelta(days=30)
"""How long a request may wait where it names no time: about the month that data protection law gives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmittedRequest:
    """A request that can be accepted. request: for the board; key: as it was given; forget: shard -> ids"""

    request: RevocationRequest
    key: str | None
    forget: dict[int, tuple[SampleId, ...]]


AdmissionResult: TypeAlias = AdmittedRequest | RevocationRequest | RaymuError
"""A request that can be accepted, the one that was accepted under its key before, or why it is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestedSample:
    """A sample that is asked for. name: keyed hash of its id; place: shard and slice, None where the run never held it"""

    sample_id: SampleId
    name: str
    place: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRequest:
    """A request whose form is right. key, owner: keyed hashes of what was given; sample_ids: as the run has them"""

    asked: Revocation
    strategy: Strategy
    boundary: Boundary
    key: str | None
    owner: str | None
    sample_ids: tuple[SampleId, ...]


def admit(
    one: ParsedRequest,
    samples: Sequence[RequestedSample],
    *,
    revoked: Mapping[str, str],
    by_key: Mapping[str, RevocationRequest],
    now: datetime,
) -> AdmittedRequest | RevocationRequest:
    """Accept a request, or raise what refuses it.

    samples: that it names; revoked: keyed hash -> request; by_key: keyed hash of a key -> the request that has it
    Raises IdempotencyConflict, RequestInvalid, UnknownSamples, UnknownOwner, and SamplesRevoked with the earlier ids.
    """
    names = tuple(sample.name for sample in samples) if one.owner is None else (one.owner,)
    payload_sha256 = _payload_sha256(one.asked, names)
    # An older event holds its key in clear, and is sealed: it is still found.
    if one.asked.key and one.key and (earlier := by_key.get(one.key) or by_key.get(one.asked.key)):
        if earlier.payload_sha256 != payload_sha256:
            raise IdempotencyConflict(one.asked.key, earlier.request_id)
        return earlier
    if one.asked.due is not None and one.asked.due <= now:
        raise RequestInvalid(f"due {one.asked.due} is past; give a time that is to come")
    _require_unrevoked(names, revoked)
    left = [sample for sample in samples if sample.name not in revoked]  # an owner stands for those that are left
    if not left:
        _require_unrevoked([sample.name for sample in samples], revoked)
        raise UnknownOwner(str(one.asked.owner))
    unknown = [str(sample.sample_id) for sample in left if sample.place is None]
    if unknown:
        raise UnknownSamples(unknown[:3], len(unknown))
    forget: dict[int, list[SampleId]] = {}
    slices: dict[int, Counter[int]] = {}
    for sample in left:
        shard, position = sample.place or (-1, -1)
        forget.setdefault(shard, []).append(sample.sample_id)
        slices.setdefault(shard, Counter())[position] += 1
    request = RevocationRequest(
        request_id=f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:12]}",
        payload_sha256=payload_sha256,
        key=one.key,
        strategy=one.strategy,
        boundary=one.boundary,
        received_at=now,
        due_at=one.asked.due or now + DUE_AFTER,
        forget=tuple(
            ForgetSet(shard=shard, samples_by_slice=dict(sorted(slices[shard].items()))) for shard in sorted(forget)
        ),
        hashes=tuple(sorted({*names, *(sample.name for sample in left)})),
    )
    return AdmittedRequest(
        request=request, key=one.asked.key, forget={shard: tuple(ids) for shard, ids in forget.items()}
    )


def submission_result(judgement: AdmissionResult) -> SubmissionResult:
    match judgement:
        case AdmittedRequest(request=request):
            return SubmissionResult(request_id=request.request_id)
        case RevocationRequest():
            return SubmissionResult(request_id=judgement.request_id)
        case _:
            return SubmissionResult(refusal=judgement)


def require_disjoint(resolved: Sequence[AdmittedRequest]) -> None:
    """Raises RequestInvalid where two requests, accepted all or none, have the same key, or name the same sample."""
    keys = Counter(one.key for one in resolved if one.key)
    for key, count in keys.items():
        if count > 1:
            raise RequestInvalid(f"key {key!r} is given to more than one of these requests; give each its own")
    counts = Counter(identity_hash for one in resolved for identity_hash in one.request.hashes)
    twice = sum(count > 1 for count in counts.values())
    if twice:
        raise RequestInvalid(f"more than one of these requests names {plural(twice, 'sample')}; name each sample once")


def _payload_sha256(asked: Revocation, names: Sequence[str]) -> str:
    """Over what is asked, whether or not the samples are still there."""
    payload = {
        "named": sorted(names),
        "strategy": asked.strategy,
        "boundary": None if asked.boundary is None else str(asked.boundary),
    }
    return hashlib.sha256(canonical_json(payload)).hexdigest()


def _require_unrevoked(names: Sequence[str], revoked: Mapping[str, str]) -> None:
    earlier = [revoked[name] for name in names if name in revoked]
    if earlier:
        raise SamplesRevoked(len(earlier), tuple(sorted(set(earlier))))


def chosen_strategy(name: str) -> Strategy:
    """Raises RequestInvalid."""
    try:
        return Strategy(name)
    except ValueError:
        raise RequestInvalid(f"{one_line(repr(name))} is no strategy; choose among {', '.join(Strategy)}") from None


def chosen_boundary(boundary: float | str) -> Boundary:
    """Raises RequestInvalid."""
    try:
        return Boundary.parse(boundary)
    except ValueError as error:
        raise RequestInvalid(one_line(error)) from None
