"""Where requests come in: each is held against the samples that the run holds, and those that it held."""

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from raymu.core.records import FileRef, SampleId
from raymu.core.requests import RevocationRequest
from raymu.errors import RaymuError, RequestInvalid, in_one_line
from raymu.learn.ids import as_sample_ids
from raymu.service.index import SampleIndex
from raymu.service.naming import keyed_hash, owner_name, sample_name
from raymu.service.requests import (
    Judgement,
    NamedSample,
    ResolvedRevocation,
    Revocation,
    WellFormed,
    chosen_boundary,
    chosen_strategy,
    judge,
)
from raymu.store.journal import Journal
from raymu.store.run import RunStore

Sound = TypeVar("Sound")


class RequestDesk:
    """Judges requests in bulk, and writes nothing."""

    def __init__(self, store: RunStore, journal: Journal, tables: Sequence[FileRef]) -> None:
        """tables: of each shard. Raises FileMissing, FileCorrupt."""
        self._store, self._journal = store, journal
        self._index = SampleIndex.read(store, tables)

    def forget(self, sample_ids: Iterable[SampleId]) -> None:
        """Purged samples are gone from the index too."""
        self._index = self._index.without(sample_ids)

    def resolve(self, asked: Revocation, *, now: datetime) -> ResolvedRevocation:
        """A request by itself, whatever its key. Raises RequestInvalid, UnknownSamples, SamplesRevoked."""
        [judgement] = self.judge([asked], by_key={}, now=now)
        if isinstance(judgement, RaymuError):
            raise judgement
        assert isinstance(judgement, ResolvedRevocation)
        return judgement

    def judge(
        self, asked: Sequence[Revocation], *, by_key: dict[str, RevocationRequest], now: datetime
    ) -> list[Judgement]:
        """Each request as if those before it that can be accepted were. by_key: those that were, with a key"""
        read = self._read(asked)
        sound = [one for one in read if isinstance(one, WellFormed)]
        samples = self._named(sample_id for one in sound for sample_id in one.sample_ids)
        owners = [one.owner for one in sound if one.owner is not None]
        revoked = self._journal.revoked_by([*owners, *(sample.name for sample in samples.values())])
        keyed: ChainMap[str, RevocationRequest] = ChainMap({}, by_key)
        judgements: list[Judgement] = []
        for one in read:
            judgement: Judgement
            if isinstance(one, RaymuError):
                judgement = one
            else:
                named = [samples[sample_id] for sample_id in one.sample_ids]
                judgement = _attempt(partial(judge, one, named, revoked=revoked, by_key=keyed, now=now))
            if isinstance(judgement, ResolvedRevocation):
                request = judgement.request
                revoked.update(dict.fromkeys(request.hashes, request.request_id))
                if request.key is not None:
                    keyed[request.key] = request
            judgements.append(judgement)
        return judgements

    def _read(self, asked: Sequence[Revocation]) -> list[WellFormed | RaymuError]:
        owners = list({str(one.owner) for one in asked if one.owner is not None})
        owned = dict(zip(owners, self._index.owned_by(owners), strict=True))
        return [_attempt(partial(self._well_formed, one, owned)) for one in asked]

    def _well_formed(self, asked: Revocation, owned: Mapping[str, Sequence[SampleId]]) -> WellFormed:
        """owned: owner -> ids of the samples that are left. Raises RequestInvalid."""
        config = self._store.config
        strategy = chosen_strategy(config.unlearning.strategy if asked.strategy is None else asked.strategy)
        boundary = chosen_boundary(config.unlearning.boundary if asked.boundary is None else asked.boundary)
        if (asked.owner is None) == (not asked.ids):
            raise RequestInvalid("name samples by id, or an owner: a request needs one of them, and not both")
        if asked.owner is not None:
            if config.data.owner is None:
                raise RequestInvalid("this run knows no owners: it was trained without data.owner; name samples by id")
            owner, sample_ids = self._keyed(owner_name(asked.owner)), owned[str(asked.owner)]
        else:
            owner, sample_ids = None, as_sample_ids(asked.ids, integers=self._store.manifest.has_integer_ids)
            _require_distinct(sample_ids)
        return WellFormed(asked=asked, strategy=strategy, boundary=boundary, owner=owner, sample_ids=tuple(sample_ids))

    def _named(self, sample_ids: Iterable[SampleId]) -> dict[SampleId, NamedSample]:
        distinct = list(dict.fromkeys(sample_ids))
        return {
            sample_id: NamedSample(sample_id=sample_id, name=self._keyed(sample_name(sample_id)), place=place)
            for sample_id, place in zip(distinct, self._index.places(distinct), strict=True)
        }

    def _keyed(self, name: str) -> str:
        return keyed_hash(name, self._store.keys.hash_key)


def _attempt(read: Callable[[], Sound]) -> Sound | RaymuError:
    try:
        return read()
    except RaymuError as refusal:
        return refusal.with_traceback(None)  # its frames would hold on to everything that was submitted with it


def _require_distinct(sample_ids: Sequence[SampleId]) -> None:
    if len(set(sample_ids)) < len(sample_ids):
        twice = [str(sample_id) for sample_id, count in Counter(sample_ids).items() if count > 1]
        shown = in_one_line(", ".join(twice[:3]))
        raise RequestInvalid(f"{len(twice)} ids are named twice ({shown}); name each sample once")
