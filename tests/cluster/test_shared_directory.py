"""A run in a shared directory, with its journal on PostgreSQL, whose coordinator moves from node to node."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raymu
from raymu.core.records import SampleId
from raymu.core.trust import EVERYTHING
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorSuperseded
from raymu.runtime.client import open_run
from raymu.runtime.coordinator_actor import CoordinatorActor
from raymu.runtime.messages import MessageCipher
from raymu.service.coordinator.calls import Call, Revoke, Settle, Train
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.store.run import RunStore
from tests.support.examples import repaired_weights, train_run, write_samples
from tests.support.postgres_server import PostgresServer
from tests.support.processes import TwoNodes
from tests.support.ray_runs import config_on_ray

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("ray_cluster")]


class PinnedCoordinator:
    """A run's coordinator, as an actor on a chosen node."""

    def __init__(self, node_id: str, location: Path) -> None:
        here = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
        store = RunStore(str(location))
        self._cipher = MessageCipher(store)
        self._actor: Any = CoordinatorActor.options(num_cpus=0, scheduling_strategy=here).remote()
        open_run(self._actor, store, self._cipher, (), EVERYTHING)

    def call(self, call: Call[Any]) -> None:
        for reference in self._actor.call.remote(self._cipher.encrypt(call)):
            self._cipher.decrypt(ray.get(reference))

    def revoke(self, ids: Sequence[SampleId], strategy: str) -> None:
        self.call(Revoke(revocations=(Revocation(ids=tuple(ids), strategy=strategy),)))

    def end(self) -> None:
        ray.kill(self._actor)

    def close(self) -> None:
        ray.get(self._actor.close.remote())
        self.end()


@pytest.fixture
def two_nodes() -> Iterator[tuple[str, str]]:
    """The ids of two nodes. Each has GPUs for four shards with half a GPU each."""
    first = ray.get_runtime_context().get_node_id()
    nodes = TwoNodes(num_cpus=4, num_gpus=2)
    [second] = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != first]  # type: ignore[no-untyped-call]
    yield first, second
    nodes.close()


def test_coordinators_on_different_nodes_take_over_a_shared_directory(
    tmp_path: Path, two_nodes: tuple[str, str], postgres: PostgresServer
) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=400)["id"].to_pylist()
    config = config_on_ray(tmp_path / "all.parquet", gpus_per_shard=0.5, journal=str(postgres.new_database()))
    location, (first, second) = tmp_path / "run", two_nodes
    prepare_run(config, str(location)).write()
    early = PinnedCoordinator(first, location)
    early.call(Train())
    early.revoke(ids[:6], "dpus")
    late = PinnedCoordinator(second, location)
    late.revoke(ids[6:12], "sisa")
    with pytest.raises(CoordinatorSuperseded):
        early.revoke(ids[12:18], "sisa")
    early.end()
    late.end()  # without a word, as with its node
    last = PinnedCoordinator(first, location)
    last.call(Settle())
    last.close()
    assert raymu.open_run(location).verify().verdict is Verdict.PASS
    asyncio.run(train_run(config, tmp_path / "calm", exclude=ids[:12]).close())
    assert repaired_weights(location) == repaired_weights(tmp_path / "calm")
