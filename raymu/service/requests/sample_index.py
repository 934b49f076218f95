"""The home of a sample: id -> shard and slice, looked up in the indexes of the shards that it can be in."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from raymu.core.partition import Hashes, Indices, homes, identity_hashes
from raymu.core.records import FileRef, SampleFiles, SampleId
from raymu.data.routes import Routes, route_hashes
from raymu.data.shard_index import ShardIndex, owner_hashes, padded_ids
from raymu.store.run import RunStore

MAX_KEPT_BYTES = 2**25
"""Bytes of indexes that stay open between requests. Those of a larger shard are opened again."""

Home = tuple[int, int]
"""Shard and slice."""


class SampleIndex:
    """The samples that a run holds. Nothing is read before it is needed, and only of shards that a request may touch."""

    def __init__(
        self,
        store: RunStore,
        samples_of: Callable[[int], SampleFiles],
        *,
        added_routes: Callable[[], Sequence[FileRef | None]] = tuple,
    ) -> None:
        """Look up samples in the current files of a run.

        Args:
            store: The run.
            samples_of: Returns the current samples of a shard, which change with every repair.
            added_routes: Returns the routes of each extension of the run.
        """
        self._store, self._samples_of, self._added_routes = store, samples_of, added_routes
        self._partition = store.config.partition
        self._kept: OrderedDict[FileRef, tuple[ShardIndex, int]] = OrderedDict()

    def homes(self, sample_ids: Sequence[SampleId]) -> list[Home | None]:
        """Return the shard and slice of each sample; None for unknown ones. Raises FileMissing, FileCorrupt."""
        hashes = identity_hashes(sample_ids, seed=self._partition.seed, purpose="sample")
        homes_of_ids: list[Home | None] = [None] * len(sample_ids)
        for shard, places in self._candidates(sample_ids).items():
            index = self._index(shard)
            rows = index.rows(hashes[places])
            for place, row in zip(places[rows >= 0].tolist(), rows[rows >= 0].tolist(), strict=True):
                homes_of_ids[place] = (shard, int(index.slices[row]))
        return homes_of_ids

    def owned_by(self, owners: Sequence[SampleId]) -> list[list[SampleId]]:
        """Return the ids of each owner's samples. Raises FileMissing, FileCorrupt."""
        hashes = owner_hashes(owners, seed=self._partition.seed)
        owned: list[list[SampleId]] = [[] for _ in owners]
        for shard, places in self._shards_of_owners(owners).items():
            index = self._index(shard)
            for place in places:
                owned[place] += index.ids.filter(index.owned_by(hashes[place])).to_pylist()
        return owned

    def padded(self) -> Mapping[str, str]:
        """Return the ids that are text with space around, which only tables of version 0.1 have: text without it -> id.

        Raises FileMissing, FileCorrupt.
        """
        first_version = [shard for shard in range(self._partition.shards) if self._samples_of(shard).index is None]
        return padded_ids([self._index(shard).ids for shard in first_version])

    def _candidates(self, sample_ids: Sequence[SampleId]) -> dict[int, Indices]:
        """Return the shards that samples can be in, each with the places of these samples in the sequence."""
        if self._partition.policy != "owner":
            return _by_shard(homes(sample_ids, self._partition, risks=np.zeros(len(sample_ids)))[0])
        every = range(self._partition.shards)
        routes = self._routes()
        if routes is None:
            places = np.arange(len(sample_ids))
            return dict.fromkeys(every, places) if len(places) else {}
        of_none = homes(sample_ids, self._partition, owners=[None] * len(sample_ids))[0]
        pairs = list(enumerate(of_none.tolist()))  # as a sample without an owner
        keys = route_hashes(sample_ids, self._store.keys.hash_key, of_owners=False)
        pairs += [(place, shard) for each in routes for place, shard in _routed(each, keys)]
        return _grouped(pairs)

    def _shards_of_owners(self, owners: Sequence[SampleId]) -> dict[int, Indices]:
        """Return the shards that samples of owners can be in, each with the places of these owners in the sequence."""
        if self._partition.policy == "owner":
            texts = [str(owner) for owner in owners]
            return _by_shard(homes(texts, self._partition, owners=texts)[0])
        routes = self._routes()
        if routes is None:
            places = np.arange(len(owners))
            return dict.fromkeys(range(self._partition.shards), places) if len(places) else {}
        keys = route_hashes(owners, self._store.keys.hash_key, of_owners=True)
        return _grouped([pair for each in routes for pair in _routed(each, keys)])

    def _routes(self) -> list[Routes] | None:
        """Return the run's routes; None unless all of its samples have them."""
        of_training, added = self._store.manifest.routes, self._added_routes()
        refs = [ref for ref in (*(of_training or ()), *added) if ref is not None]
        if of_training is None or len(refs) < len(of_training) + len(added):
            return None
        return [self._store.read_routes(ref) for ref in refs]

    def _index(self, shard: int) -> ShardIndex:
        files = self._samples_of(shard)
        ref = files.index or files.table
        if ref in self._kept:
            self._kept.move_to_end(ref)
            return self._kept[ref][0]
        index = self._store.read_index(files)
        self._kept[ref] = (index, index.ids.nbytes + index.hashes.nbytes + index.slices.nbytes)
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > MAX_KEPT_BYTES:
            self._kept.popitem(last=False)
        return index


def _routed(routes: Routes, keys: Hashes) -> Iterator[tuple[int, int]]:
    """Yield the place of each key that has routes, with each of its shards."""
    return ((place, shard) for place, key in enumerate(keys) for shard in routes.shards_of(key))


def _by_shard(shards: Indices) -> dict[int, Indices]:
    """Return shard -> places that have it."""
    order = np.argsort(shards, kind="stable")
    distinct, starts = np.unique(shards[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True)) if len(shards) else {}


def _grouped(pairs: Sequence[tuple[int, int]]) -> dict[int, Indices]:
    """Return shard -> distinct places, of pairs of place and shard."""
    grouped: dict[int, set[int]] = {}
    for place, shard in pairs:
        grouped.setdefault(shard, set()).add(place)
    return {shard: np.array(sorted(places)) for shard, places in sorted(grouped.items())}
