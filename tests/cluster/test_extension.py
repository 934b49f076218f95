"""A run on Ray grows to the same bits as one in a single process, also when requests follow."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import raymu
from tests.support.examples import repaired_weights, write_samples
from tests.support.ray_runs import config_on_ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_an_extension_gives_the_hashes_of_one_process(tmp_path: Path) -> None:
    whole = write_samples(tmp_path / "whole.parquet", samples=300)
    pq.write_table(whole.slice(0, 240), tmp_path / "all.parquet")
    pq.write_table(whole.slice(240, 60), tmp_path / "more.parquet")
    on_ray = config_on_ray(tmp_path / "all.parquet", shards=2, live_actors=1)
    tree = on_ray.tree()
    tree["cluster"] |= {"fleet": "local", "live_actors": None}
    forget = whole["id"].to_pylist()[238:243]
    for name, config in (("ray", on_ray), ("local", type(on_ray).parse(tree))):
        with raymu.train(config, str(tmp_path / name)) as run:
            run.revoke(forget[:1], strategy="dpus")  # the extension settles it
            assert run.extend(tmp_path / "more.parquet", epochs=1).shards == (0, 1)
            run.revoke(forget[1:], strategy="sisa")
    assert repaired_weights(tmp_path / "ray") == repaired_weights(tmp_path / "local")
