"""A cluster without a CPU grows for the shards of a run, and shrinks again, by Ray's autoscaler on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from raymu.store.codec import canonical_json
from tests.support.examples import make_config, repaired_weights, train_run, write_samples
from tests.support.head_node import started_head

pytestmark = pytest.mark.nightly

PROGRAM = """
import json, time, ray, raymu
from pathlib import Path
from raymu.config import Config

def nodes():
    return sum(node["Alive"] for node in ray.nodes())

with raymu.train(Config.parse(json.loads(Path("config.json").read_text())), "run") as run:
    print("grown" if nodes() > 1 else "as it was", flush=True)
    while nodes() > 1:
        time.sleep(0.2)
print("and back")
"""


def test_a_cluster_grows_for_shards_and_shrinks_once_they_are_idle(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=400)
    with started_head("--num-cpus=0", grows_by={"CPU": 1}) as head:
        config = make_config(
            tmp_path / "all.parquet",
            partition={"shards": 8, "slices": 3},
            cluster={"fleet": "ray", "address": head.address, "live_actors": 2, "autoscaling": True},
        )
        (tmp_path / "config.json").write_bytes(canonical_json(config.tree()))
        program = [sys.executable, "-c", PROGRAM]
        process = subprocess.run(
            program, cwd=tmp_path, env=head.environment, capture_output=True, text=True, timeout=240, check=False
        )
    assert (process.returncode, process.stdout.split("\n")[:2]) == (0, ["grown", "and back"]), process.stderr
    train_run(config, tmp_path / "calm")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")
