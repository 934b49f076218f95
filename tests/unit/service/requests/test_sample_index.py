"""The homes of samples, while they are purged one after another."""

from pathlib import Path

import numpy as np
import pytest

from raymu.core.records import SampleId
from raymu.service.ingest import prepare_run
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.run import RunStore
from tests.support.coordinated_run import homes
from tests.support.examples import make_config, write_samples

SAMPLES = 240


@pytest.mark.parametrize("text_ids", [False, True])
def test_what_is_purged_is_unknown_and_the_rest_stays_where_it_is(tmp_path: Path, text_ids: bool) -> None:
    index, left, owners = indexed(tmp_path, text_ids=text_ids)
    order = np.random.default_rng(5).permutation(SAMPLES)
    for group in np.array_split(np.array(list(left), dtype=object)[order], 60):
        index.purge(group)
        for sample_id in group:
            del left[sample_id]
        every = [*owners, -1 if not text_ids else "nobody"]
        assert index.homes(every) == [left.get(sample_id) for sample_id in every]
        names = sorted(set(owners.values()))
        owned = [{sample_id for sample_id in left if owners[sample_id] == name} for name in names]
        assert [set(ids) for ids in index.owned_by(names)] == owned
    assert left == {}
    assert len(index.ids) == 0, "raw ids do not outlive their samples for long"


def test_purging_one_sample_copies_no_other(tmp_path: Path) -> None:
    index, left, _ = indexed(tmp_path)
    hashes, [first, second, *_] = index.hashes, left
    index.purge([first])
    index.purge([first, second])
    assert index.hashes is hashes
    assert index.homes([first, second]) == [None, None]


def indexed(
    tmp_path: Path, *, text_ids: bool = False
) -> tuple[SampleIndex, dict[SampleId, tuple[int, int]], dict[SampleId, str]]:
    """Return the index, each sample's shard and slice, and each sample's owner."""
    table = write_samples(tmp_path / "all.parquet", samples=SAMPLES, text_ids=text_ids)
    config = make_config(tmp_path / "all.parquet", data={"owner": "owner"}, partition={"shards": 3, "slices": 2})
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    owners = dict(zip(table["id"].to_pylist(), table["owner"].to_pylist(), strict=True))
    places = {sample_id: (shard, position) for sample_id, shard, position in homes(config)}
    return SampleIndex.read(store, store.manifest.tables), places, owners
