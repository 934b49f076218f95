"""One `Run` object on a cluster in many threads, and after another process had its turn."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

import raymu
from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore
from tests.support.examples import repaired_weights, train_run, write_samples
from tests.support.ray_runs import config_on_ray

THREADS = 32


@pytest.mark.usefixtures("ray_cluster")
def test_threads_share_a_coordinator_that_takes_the_run_back_after_another_had_it(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=400)["id"].to_pylist()[: THREADS + 1]
    config, location = config_on_ray(tmp_path / "all.parquet", shards=2, live_actors=1), tmp_path / "run"
    asyncio.run(train_run(config, location).close())
    features, together = np.zeros((4, 6), dtype=np.float32), Barrier(THREADS, timeout=60)

    def work(number: int) -> None:
        together.wait()
        calls: list[Callable[[], object]] = [
            lambda: run.revoke([ids[number]], strategy="sisa"),
            lambda: run.predict(features),
            run.status,
            run.locations,
        ]
        for call in calls:
            call()

    with raymu.open_run(location) as run:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(work, range(THREADS)))
        other = Coordinator(RunStore(str(location)), LocalFleet(RunStore(str(location))))
        asyncio.run(other.revoke([Revocation(ids=(ids[-1],), strategy="dpus")], no_progress))
        run.settle()
        assert [receipt.exactness for receipt in run.receipts()] == [Exactness.EXACT] * (THREADS + 1)
    assert run.verify().verdict is Verdict.PASS
    train_run(config, tmp_path / "calm", exclude=ids)
    assert repaired_weights(location) == repaired_weights(tmp_path / "calm")
