"""The homes of samples, looked up in the files of the shards that they can be in, while samples are taken out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raymu.core.records import FileRef, SampleFiles, SampleId
from raymu.data import routes
from raymu.errors import FileCorrupt
from raymu.service.ingest import prepare_run
from raymu.service.requests import sample_index
from raymu.service.requests.sample_index import SampleIndex
from raymu.service.shard.files import write_without
from raymu.store.run import RunStore
from tests.support.coordinated_run import homes
from tests.support.examples import make_config, write_samples

SAMPLES, SHARDS = 240, 3


class Shards:
    """The current files of a run's shards, and which of them were read."""

    def __init__(self, store: RunStore, *, has_indexes: bool = True) -> None:
        self.store, self.read = store, list[int]()
        manifest = store.manifest
        self.files = [
            SampleFiles(table=table, index=index if has_indexes else None)
            for table, index in zip(manifest.tables, manifest.indexes, strict=True)
        ]

    def samples_of(self, shard: int) -> SampleFiles:
        self.read.append(shard)
        return self.files[shard]

    def forget(self, sample_ids: set[SampleId]) -> None:
        self.files = [write_without(self.store, shard, files, sample_ids) for shard, files in enumerate(self.files)]


@pytest.mark.parametrize("has_indexes", [True, False])
@pytest.mark.parametrize("policy", ["uniform", "owner", "risk"])
@pytest.mark.parametrize("text_ids", [False, True])
def test_what_is_forgotten_is_unknown_and_the_rest_stays_where_it_is(
    tmp_path: Path, text_ids: bool, policy: str, has_indexes: bool
) -> None:
    store, left, owners = ingested(tmp_path, text_ids=text_ids, policy=policy)
    shards = Shards(store, has_indexes=has_indexes)
    index = SampleIndex(store, shards.samples_of)
    order = np.random.default_rng(5).permutation(SAMPLES)
    every_id = np.array(list(left), dtype=object)[order]
    for group in (list[SampleId](), *(part.tolist() for part in np.array_split(every_id, 6))):
        shards.forget(set(group))
        for sample_id in group:
            del left[sample_id]
        every = [*owners, "nobody" if text_ids else -1]
        assert index.homes(every) == [left.get(sample_id) for sample_id in every]
        names = sorted(set(owners.values()))
        owned = [{sample_id for sample_id in left if owners[sample_id] == name} for name in names]
        assert [set(ids) for ids in index.owned_by([*names, "owner-of-none"])] == [*owned, set()]
    assert left == {}


@pytest.mark.parametrize("policy", ["uniform", "owner", "risk"])
def test_only_shards_that_can_hold_a_sample_are_read(tmp_path: Path, policy: str) -> None:
    store, places, owners = ingested(tmp_path, policy=policy)
    for sample_id, (shard, _) in list(places.items())[:20]:
        shards = Shards(store)
        assert SampleIndex(store, shards.samples_of).homes([sample_id]) == [places[sample_id]]
        as_of_no_owner = policy == "owner"  # without a route, its id alone says where it is
        assert shard in shards.read
        assert len(shards.read) <= 1 + as_of_no_owner
        shards = Shards(store)
        SampleIndex(store, shards.samples_of).owned_by([owners[sample_id]])
        assert set(shards.read) == {places[each][0] for each in places if owners[each] == owners[sample_id]}


def test_a_run_without_routes_is_searched_whole(tmp_path: Path) -> None:
    store, places, _ = ingested(tmp_path, policy="owner")
    store.manifest = replace(store.manifest, routes=None)
    shards = Shards(store)
    index = SampleIndex(store, shards.samples_of)
    assert index.homes(list(places)) == list(places.values())
    assert set(shards.read) == set(range(SHARDS))


def test_the_files_of_samples_that_are_gone_have_no_id_of_them(tmp_path: Path) -> None:
    store, places, _ = ingested(tmp_path, text_ids=True)
    shards = Shards(store)
    shards.forget(set(places))
    assert all(not len(store.samples.read_index(files).ids) for files in shards.files)
    payloads = [store.files.read(ref.path) for ref in store.manifest.routes or ()]
    assert payloads
    assert not any(str(sample_id).encode() in payload for sample_id in places for payload in payloads)


def test_a_changed_index_is_refused(tmp_path: Path) -> None:
    store, places, _ = ingested(tmp_path)
    shards = Shards(store)
    sample_id, (shard, _) = next(iter(places.items()))
    path = tmp_path / "run" / index_ref(shards.files[shard]).path
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)
    with pytest.raises(FileCorrupt, match="index"):
        SampleIndex(store, shards.samples_of).homes([sample_id])


def test_few_indexes_stay_open_and_none_of_a_destroyed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, places, _ = ingested(tmp_path)
    shards = Shards(store)
    index = SampleIndex(store, shards.samples_of)
    index.homes(list(places))
    assert set(index._indexes._open) == {files.index for files in shards.files}
    index.close([index_ref(shards.files[0])])
    assert set(index._indexes._open) == {files.index for files in shards.files[1:]}
    monkeypatch.setattr(sample_index, "MAX_OPEN_BYTES", 1)
    index = SampleIndex(store, shards.samples_of)
    index.homes(list(places))
    assert list(index._indexes._open) == [shards.files[-1].index]


@pytest.mark.parametrize("routes_in_a_file", [7, 1 << 22])
def test_routes_in_several_files_lead_to_every_shard_of_an_owner(
    tmp_path: Path, routes_in_a_file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_ROUTES", routes_in_a_file)
    store, places, owners = ingested(tmp_path)
    assert (len(store.manifest.routes or ()) > 1) == (routes_in_a_file == 7)
    owned = SampleIndex(store, Shards(store).samples_of).owned_by(sorted(set(owners.values())))
    assert [set(ids) for ids in owned] == [
        {each for each in places if owners[each] == owner} for owner in sorted(set(owners.values()))
    ]


def index_ref(files: SampleFiles) -> FileRef:
    assert files.index
    return files.index


def ingested(
    tmp_path: Path, *, text_ids: bool = False, policy: str = "uniform"
) -> tuple[RunStore, dict[SampleId, tuple[int, int]], dict[SampleId, str]]:
    """Return a run that is not trained, each sample's shard and slice, and each sample's owner."""
    table = write_samples(tmp_path / "all.parquet", samples=SAMPLES, text_ids=text_ids)
    data = {"owner": "owner", **({"risk": "risk"} if policy == "risk" else {})}
    config = make_config(
        tmp_path / "all.parquet", data=data, partition={"shards": SHARDS, "slices": 2, "policy": policy}
    )
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    owners = dict(zip(table["id"].to_pylist(), table["owner"].to_pylist(), strict=True))
    places = {sample_id: (shard, position) for sample_id, shard, position in homes(config)}
    return store, places, owners
