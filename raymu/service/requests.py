"""From what a user asks to a request that the board can route: every refusal happens here, before anything is written."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from raymu.core.records import FileRef, SampleId
from raymu.core.requests import Boundary, ForgetSet, RevocationRequest, Strategy
from raymu.errors import (
    RequestInvalid,
    SamplesRevoked,
    UnknownOwner,
    UnknownSamples,
    in_one_line,
)
from raymu.learn.ids import as_sample_ids
from raymu.service.index import SampleIndex
from raymu.service.naming import keyed_hash, owner_name, sample_name
from raymu.store.codec import canonical_json
from raymu.store.journal import Journal
from raymu.store.run import RunStore

DUE_AFTER = timedelta(days=30)
"""How long a request may wait where it names no time: about the month that data protection law gives."""
_LONGEST_KEY = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Revocation:
    """What a user asks: samples by id, or all samples of an owner. What is None comes from the run's configuration."""

    ids: tuple[SampleId, ...] = ()
    owner: SampleId | None = None
    strategy: str | None = None
    boundary: float | str | None = None
    due: datetime | None = None
    key: str | None = None
    """Idempotency key: the same key and payload give the same receipt."""

    def __post_init__(self) -> None:
        """Raises RequestInvalid."""
        for text in (*self.ids, self.owner, self.key):
            if isinstance(text, str) and not _is_unicode(text):
                raise RequestInvalid(f"{in_one_line(repr(text))} is no UTF-8 text; name it as the data do")
        if self.key is not None and not 0 < len(self.key) <= _LONGEST_KEY:
            raise RequestInvalid(f"a key of {len(self.key)} letters is refused; give 1 to {_LONGEST_KEY}, or no key")
        if self.due is not None and self.due.tzinfo is None:
            raise RequestInvalid(f"due {self.due} names no time zone; give one")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedRevocation:
    """request: for the board; forget: shard -> ids"""

    request: RevocationRequest
    forget: dict[int, tuple[SampleId, ...]]


class RequestDesk:
    """Checks requests against the samples that a run holds, and those that it held."""

    def __init__(self, store: RunStore, journal: Journal, tables: Sequence[FileRef]) -> None:
        """tables: of each shard. Raises FileMissing, FileCorrupt."""
        self._store, self._journal = store, journal
        self._tables = list(tables)
        self._index = SampleIndex.read(store, tables)

    def forget(self, sample_ids: Iterable[SampleId], tables: Sequence[FileRef]) -> None:
        """Purged samples are gone from the index too. tables: that are left"""
        self._index, self._tables = self._index.without(sample_ids), list(tables)

    def payload_sha256(self, asked: Revocation) -> str:
        """Over what is asked, whether or not the samples are still there."""
        payload = {
            "named": sorted(self._keyed(name) for name in _names(asked)),
            "strategy": asked.strategy,
            "boundary": None if asked.boundary is None else str(asked.boundary),
        }
        return hashlib.sha256(canonical_json(payload)).hexdigest()

    def resolve(self, asked: Revocation, *, request_id: str, received_at: datetime) -> ResolvedRevocation:
        """Raises RequestInvalid, UnknownSamples, UnknownOwner, and SamplesRevoked with the earlier requests' ids."""
        if asked.due is not None and asked.due <= received_at:
            raise RequestInvalid(f"due {asked.due} is past; give a time that is to come")
        config = self._store.config.unlearning
        strategy, boundary = _strategy(asked, config.strategy), _boundary(asked, config.boundary)
        sample_ids = self._sample_ids(asked)
        forget: dict[int, list[SampleId]] = {}
        slices: dict[int, Counter[int]] = {}
        for sample_id, row in zip(sample_ids, self._rows(sample_ids), strict=True):
            shard = int(self._index.shards[row])
            forget.setdefault(shard, []).append(sample_id)
            slices.setdefault(shard, Counter())[int(self._index.slices[row])] += 1
        names = [*_names(asked), *(sample_name(sample_id) for sample_id in sample_ids)]
        request = RevocationRequest(
            request_id=request_id,
            payload_sha256=self.payload_sha256(asked),
            key=asked.key,
            strategy=strategy,
            boundary=boundary,
            received_at=received_at,
            due_at=asked.due or received_at + DUE_AFTER,
            forget=tuple(
                ForgetSet(shard=shard, samples_by_slice=dict(sorted(slices[shard].items()))) for shard in sorted(forget)
            ),
            hashes=tuple(sorted({self._keyed(name) for name in names})),
        )
        return ResolvedRevocation(request=request, forget={shard: tuple(ids) for shard, ids in forget.items()})

    def _sample_ids(self, asked: Revocation) -> list[SampleId]:
        """The samples that a request names and that nothing has revoked."""
        if (asked.owner is None) == (not asked.ids):
            raise RequestInvalid("name samples by id, or an owner: a request needs one of them, and not both")
        if asked.owner is not None:
            self._require_unrevoked(_names(asked))
            owned = self._owned(asked.owner)
            revoked = self._revoked_by([sample_name(sample_id) for sample_id in owned])
            left = [sample_id for sample_id in owned if self._keyed(sample_name(sample_id)) not in revoked]
            if not left:
                raise SamplesRevoked(len(owned), tuple(sorted(set(revoked.values()))))
            return left
        sample_ids = as_sample_ids(asked.ids, integers=self._store.manifest.has_integer_ids)
        twice = [str(sample_id) for sample_id, count in Counter(sample_ids).items() if count > 1]
        if twice:
            shown = in_one_line(", ".join(twice[:3]))
            raise RequestInvalid(f"{len(twice)} ids are named twice ({shown}); name each sample once")
        self._require_unrevoked([sample_name(sample_id) for sample_id in sample_ids])
        return sample_ids

    def _rows(self, sample_ids: Sequence[SampleId]) -> npt.NDArray[np.int64]:
        rows = self._index.find(sample_ids)
        unknown = [str(sample_id) for sample_id, row in zip(sample_ids, rows, strict=True) if row < 0]
        if unknown:
            raise UnknownSamples(unknown[:3], len(unknown))
        return rows

    def _require_unrevoked(self, names: Sequence[str]) -> None:
        revoked = self._revoked_by(names)
        if revoked:
            raise SamplesRevoked(len(revoked), tuple(sorted(set(revoked.values()))))

    def _revoked_by(self, names: Sequence[str]) -> dict[str, str]:
        return self._journal.revoked_by([self._keyed(name) for name in names])

    def _owned(self, owner: SampleId) -> list[SampleId]:
        if self._store.config.data.owner is None:
            raise RequestInvalid("this run knows no owners: it was trained without data.owner; name samples by id")
        owned: list[SampleId] = []
        for shard in self._index.shards_of_owner(owner):
            table = self._store.read_table(self._tables[shard], ["id", "owner"])
            pairs = zip(table["id"].to_pylist(), table["owner"].to_pylist(), strict=True)
            owned.extend(sample_id for sample_id, of in pairs if str(of) == str(owner))
        if not owned:
            raise UnknownOwner(str(owner))
        return owned

    def _keyed(self, name: str) -> str:
        return keyed_hash(name, self._store.keys.hash_key)


def _is_unicode(text: str) -> bool:
    """Bytes of a command line that are no UTF-8 come as lone surrogates, which nothing can be told to write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names(asked: Revocation) -> list[str]:
    return [sample_name(sample_id) for sample_id in asked.ids] if asked.owner is None else [owner_name(asked.owner)]


def _strategy(asked: Revocation, default: str) -> Strategy:
    name = default if asked.strategy is None else asked.strategy
    try:
        return Strategy(name)
    except ValueError:
        raise RequestInvalid(f"{in_one_line(repr(name))} is no strategy; choose among {', '.join(Strategy)}") from None


def _boundary(asked: Revocation, default: float | str) -> Boundary:
    try:
        return Boundary.parse(default if asked.boundary is None else asked.boundary)
    except ValueError as error:
        raise RequestInvalid(in_one_line(error)) from None
