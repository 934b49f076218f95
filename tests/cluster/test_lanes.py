"""Lanes on Ray: actors that train several shards together give the bits of one process."""

from pathlib import Path

import pytest

from raymu import train
from tests.support.examples import make_config, repaired_weights, write_samples

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_lanes_of_actors_give_the_bits_of_one_process(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=100)
    for fleet in ({"fleet": "ray", "live_actors": 1}, {"fleet": "local"}):
        config = make_config(
            tmp_path / "all.parquet",
            partition={"shards": 4, "slices": 2},
            cluster={**fleet, "shards_per_lane": 2},
        )
        with train(config, tmp_path / str(fleet["fleet"])) as run:
            run.revoke([1000, 1007, 1014, 1021, 1028], strategy="sisa")
    assert repaired_weights(tmp_path / "ray") == repaired_weights(tmp_path / "local")
