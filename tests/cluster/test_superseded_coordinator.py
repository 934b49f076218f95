"""A suspended coordinator actor: it continues after another took its run over, or is ended."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psutil
import pytest

import raymu
from raymu.errors import CoordinatorSuperseded
from raymu.runtime import client
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import StageProgress
from raymu.store.layout import PRESENCE
from raymu.store.run import RunStore
from tests.support.examples import repaired_weights, settle, train_run, write_samples
from tests.support.processes import COORDINATOR, SHARD, own_processes
from tests.support.ray_runs import config_on_ray
from tests.support.request_scenarios import files_of


def kept_files(location: Path) -> dict[str, bytes]:
    """Return a run's files but the one that names the process at work, which its client removes."""
    return {name: content for name, content in files_of(location).items() if name != PRESENCE}


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.nightly
def test_a_resumed_coordinator_writes_nothing_and_reports_that_it_was_superseded(tmp_path: Path) -> None:
    """Its successor takes the run over without the lock of the process at work, as from a machine that shares no locks."""
    forget = write_samples(tmp_path / "all.parquet", samples=400)["id"].to_pylist()[:40]
    config, location = config_on_ray(tmp_path / "all.parquet"), tmp_path / "run"
    run, is_stopped = raymu.train(config, location), Event()
    [zombie] = own_processes(COORDINATOR)

    def stop(_stage: StageProgress) -> None:
        if not is_stopped.is_set():
            os.kill(zombie.pid, signal.SIGSTOP)
            is_stopped.set()

    with ThreadPoolExecutor() as threads:
        try:
            revocation = threads.submit(run.revoke, forget, strategy="sisa", progress=stop)
            assert is_stopped.wait(60)
            store = RunStore(str(location))
            successor = Coordinator(store, LocalFleet(store))
            settle(successor)
            asyncio.run(successor.close())
            left = kept_files(location)
        finally:
            os.kill(zombie.pid, signal.SIGCONT)
        with pytest.raises(CoordinatorSuperseded):
            revocation.result(60)
    run.close()
    assert kept_files(location) == left
    assert run.verify().verdict == "pass"
    train_run(config, tmp_path / "calm", exclude=forget)
    assert repaired_weights(location) == repaired_weights(tmp_path / "calm")


@pytest.mark.nightly
@pytest.mark.usefixtures("ray_cluster")
def test_closing_ends_a_coordinator_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CLOSE_S", 0.1)
    write_samples(tmp_path / "all.parquet", samples=400)
    run = raymu.train(config_on_ray(tmp_path / "all.parquet"), tmp_path / "run")
    hanging = [*own_processes(COORDINATOR), *own_processes(SHARD)]
    os.kill(hanging[0].pid, signal.SIGSTOP)
    run.close()
    _, alive = psutil.wait_procs(hanging, timeout=30)
    assert not alive
    with raymu.open_run(tmp_path / "run") as again:
        again.settle()
    assert again.verify().verdict == "pass"
