"""Two of three nodes with logical GPUs are killed, one after the other, during work."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import raymu
from raymu.core.records import SampleId
from tests.support.examples import make_config, revoke, served_weights, train_run, write_samples
from tests.support.file_events import watched
from tests.support.processes import TwoNodes, kill

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("ray_cluster")]

SHARDS = 24


@pytest.fixture
def others() -> Iterator[list[TwoNodes]]:
    """The second and the third node."""
    nodes = [TwoNodes(num_cpus=2, num_gpus=1) for _ in range(2)]
    yield nodes
    for node in nodes:
        node.close()


@contextmanager
def losing(node: TwoNodes, location: Path, *, moment: str) -> Iterator[None]:
    """Kill a node and all its processes as soon as a file appears."""
    killed: list[int] = []

    def strike(event: str) -> None:
        if not killed and re.match(rf"appears {moment}", event):
            killed.extend(node.find("node"))
            kill(killed)

    with watched(location, strike):
        yield
    assert len(killed) > 1, "no actor was there"


def test_every_acknowledged_request_finishes_with_the_hashes_of_an_undisturbed_run(
    tmp_path: Path, others: list[TwoNodes]
) -> None:
    ids: list[SampleId] = write_samples(tmp_path / "all.parquet", samples=1200)["id"].to_pylist()
    config = make_config(
        tmp_path / "all.parquet",
        model={"name": "logistic"},
        partition={"shards": SHARDS, "slices": 3},
        cluster={"fleet": "ray", "gpus_per_shard": 0.5, "live_actors": 3, "placement": "spread"},
    )
    location = tmp_path / "run"
    calm = train_run(config, tmp_path / "calm")  # in this process, where nothing is lost
    location.mkdir()
    with losing(others[0], location, moment=r"shards/.*stage-1"):
        raymu.train(config, location).close()
    assert served_weights(location) == served_weights(tmp_path / "calm")
    others[0].recover()
    for node, strategy, moment, sample_ids in (
        (others[1], "sisa", r"shards/.*stage-2", ids[:40]),
        (others[0], "dpus", r"shards/.*patched", ids[40:80]),
    ):
        with raymu.open_run(location) as run, losing(node, location, moment=moment):
            run.warm_up()
            receipt = run.revoke(sample_ids, strategy=strategy)
        other = revoke(calm, sample_ids, strategy=strategy)
        assert (receipt.purged_at is not None, receipt.exactness) == (True, other.exactness)
        assert served_weights(location) == served_weights(tmp_path / "calm"), strategy
        node.recover()
    assert raymu.open_run(location).verify().verdict == "inconclusive"  # only because some are patched
    assert raymu.open_run(location).status().requests.purged == 2
