"""The home of a sample: id -> shard and slice, looked up in the indexes of the shards that it can be in."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np

from raymu.core.arrays import Mask
from raymu.core.partition import Hashes, Indices, homes, identity_hashes
from raymu.core.records import FileRef, SampleFiles, SampleId
from raymu.data.routes import route_hashes
from raymu.data.shard_index import ShardIndex, owner_hashes, padded_ids
from raymu.service.run_routes import RunRoutes
from raymu.store.last_used import LastUsed
from raymu.store.run import RunStore

MAX_OPEN_BYTES = 2**25
"""Bytes of indexes that stay open between requests."""

Home = tuple[int, int]
"""Shard and slice."""


class SampleIndex:
    """The samples that a run holds. Nothing is read before it is needed, and only of shards that a request may touch."""

    def __init__(
        self,
        store: RunStore,
        samples_of: Callable[[int], SampleFiles],
        *,
        added_routes: Callable[[], Sequence[tuple[FileRef, ...] | None]] = tuple,
    ) -> None:
        """Look up samples in the current files of a run.

        Args:
            store: The run.
            samples_of: Returns the current samples of a shard, which change with every repair.
            added_routes: Returns the routes of each extension of the run.
        """
        self._store, self._samples_of = store, samples_of
        self._partition = store.config.partition
        self._indexes: LastUsed[ShardIndex] = LastUsed(MAX_OPEN_BYTES)
        self._routes = RunRoutes(store, added_routes)
        self._may_have_padded = True

    def homes(self, sample_ids: Sequence[SampleId]) -> list[Home | None]:
        """Return the shard and slice of each sample; None for unknown ones. Raises FileMissing, FileCorrupt."""
        hashes = identity_hashes(sample_ids, seed=self._partition.seed, purpose="sample")
        homes_of_ids: list[Home | None] = [None] * len(sample_ids)
        for shard, places in self._candidates(sample_ids).items():
            index = self._index(shard)
            rows = index.rows(hashes[places])
            is_held = rows >= 0
            slices = index.slices[rows[is_held]].tolist()
            for place, slice_index in zip(places[is_held].tolist(), slices, strict=True):
                homes_of_ids[place] = (shard, slice_index)
        return homes_of_ids

    def held(self, shard: int, hashes: Hashes) -> Mask:
        """Return which samples a shard holds: (hashes,) bool. Raises FileMissing, FileCorrupt.

        Args:
            shard: The shard.
            hashes: (hashes,) uint64, of ids for the purpose `sample`.
        """
        return self._index(shard).rows(hashes) >= 0

    def owned_by(self, owners: Sequence[SampleId]) -> list[list[SampleId]]:
        """Return the ids of each owner's samples. Raises FileMissing, FileCorrupt."""
        hashes = owner_hashes(owners, seed=self._partition.seed)
        owned: list[list[SampleId]] = [[] for _ in owners]
        for shard, places in self._shards_of_owners(owners).items():
            for place, ids in zip(places.tolist(), self._index(shard).owned_by(hashes[places]), strict=True):
                owned[place] += ids
        return owned

    def padded(self, texts: Sequence[str]) -> Mapping[str, str]:
        """Return the ids that are one of these texts with space around it: text -> id. Two of one text are left out.

        Only version 0.1 kept such ids. No hash leads to them, so all indexes are read, one after another.

        Raises FileMissing, FileCorrupt.
        """
        manifest = self._store.manifest
        is_later_version = bool(manifest.indexes) and all(manifest.indexes)
        if manifest.has_integer_ids or is_later_version or not self._may_have_padded:
            return {}
        parts = [padded_ids(self._index(shard).ids, texts) for shard in range(self._partition.shards)]
        self._may_have_padded = any(part.has_padded for part in parts)  # no later version adds such an id
        counts = Counter(text for part in parts for text, _ in part.pairs)
        return {text: sample_id for part in parts for text, sample_id in part.pairs if counts[text] == 1}

    def close(self, refs: Collection[FileRef]) -> None:
        """Close destroyed files, which name samples that are purged."""
        self._indexes.close(refs)

    def _candidates(self, sample_ids: Sequence[SampleId]) -> dict[int, Indices]:
        """Return the shards that samples can be in, each with the places of these samples in the sequence."""
        if self._partition.policy != "owner":
            return _by_shard(homes(sample_ids, self._partition, risks=np.zeros(len(sample_ids)))[0])
        keys = route_hashes(sample_ids, self._store.keys.hash_key, of_owners=False)
        routed = self._routes.routed(keys)
        if routed is None:
            return self._everywhere(len(sample_ids))
        of_none = homes(sample_ids, self._partition, owners=[None] * len(sample_ids))[0]  # as a sample without an owner
        places = np.concatenate([np.arange(len(sample_ids)), routed[0]])
        return _by_shard(np.concatenate([of_none, routed[1]]), places)

    def _shards_of_owners(self, owners: Sequence[SampleId]) -> dict[int, Indices]:
        """Return the shards that samples of owners can be in, each with the places of these owners in the sequence."""
        if self._partition.policy == "owner":
            texts = [str(owner) for owner in owners]
            return _by_shard(homes(texts, self._partition, owners=texts)[0])
        routed = self._routes.routed(route_hashes(owners, self._store.keys.hash_key, of_owners=True))
        return self._everywhere(len(owners)) if routed is None else _by_shard(routed[1], routed[0])

    def _everywhere(self, count: int) -> dict[int, Indices]:
        return dict.fromkeys(range(self._partition.shards), np.arange(count)) if count else {}

    def _index(self, shard: int) -> ShardIndex:
        files = self._samples_of(shard)
        return self._indexes.get(files.index or files.table, partial(self._store.samples.read_index, files))


def _by_shard(shards: Indices, places: Indices | None = None) -> dict[int, Indices]:
    """Return shard -> distinct places that have it. By default the places are those in the array."""
    order = np.argsort(shards, kind="stable")
    distinct, starts = np.unique(shards[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(shards) else []
    if places is not None:
        parts = [np.unique(places[part]) for part in parts]
    return dict(zip(distinct.tolist(), parts, strict=True))
