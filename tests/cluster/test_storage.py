"""A run on an object store, with its journal on PostgreSQL, on a real cluster."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import raymu
from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorLost
from raymu.service.shard.messages import StageProgress
from tests.support.examples import repaired_weights, train_run, write_samples
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer
from tests.support.processes import COORDINATOR, SHARD, own_processes
from tests.support.ray_runs import config_on_ray

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("ray_cluster")]


def killer(name: str) -> Any:
    """Kills a process with a given name when the first stage has been trained."""
    killed: list[int] = []

    def kill_once(_stage: StageProgress) -> None:
        if not killed:
            killed.append(own_processes(name)[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    return kill_once


def test_a_run_on_an_object_store_survives_lost_workers_and_coordinators(
    tmp_path: Path, object_store: ObjectStoreServer, postgres: PostgresServer
) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=400)["id"].to_pylist()
    config = config_on_ray(tmp_path / "all.parquet", journal=str(postgres.new_database()))
    location = object_store.uri(f"{object_store.new_bucket()}/run")
    with raymu.train(config, location, progress=killer(SHARD)) as run:
        assert run.revoke(ids[:20], strategy="sisa", progress=killer(SHARD)).exactness is Exactness.EXACT
        with pytest.raises(CoordinatorLost):
            run.revoke(ids[20:40], strategy="sisa", progress=killer(COORDINATOR))
    with raymu.open_run(location) as run:
        run.revoke(ids[40:44], strategy="ohs", boundary=0.0)
        run.settle()
        assert run.status().requests.settled == 3
        assert run.verify().verdict is Verdict.PASS
    asyncio.run(train_run(config, tmp_path / "calm", exclude=ids[:44]).close())
    assert repaired_weights(location) == repaired_weights(tmp_path / "calm")
