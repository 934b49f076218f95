"""A coordinator in the background of a process, while another machine takes the run over from it."""

import asyncio
import gc
from pathlib import Path

import psutil
import pytest

from raymu.service.coordinator import background as background_module
from raymu.service.coordinator.background import BackgroundCoordinator
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.status import receipts
from raymu.store.run import RunStore
from tests.support.examples import create_run, make_config, write_samples


def test_a_request_is_accepted_at_once_after_another_machine_took_the_run_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine takes no turn here, and revokes a sample that is asked for again."""
    monkeypatch.setattr(background_module, "IDLE_S", 60.0)  # the turn is kept, however slow the machine is
    ids = write_samples(tmp_path / "all.parquet", samples=120)["id"].to_pylist()
    create_run(make_config(tmp_path / "all.parquet", training={"epochs": 2}), tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))

    async def requests() -> list[list[SubmissionResult]]:
        background = BackgroundCoordinator(str(tmp_path / "run"), trust=store.trust)
        try:
            first = await background.accept([Revocation(ids=(ids[0],))])
            await background.wait_until_idle()
            other = Coordinator(store, LocalFleet(store))
            await other.submit([Revocation(ids=(ids[1],))], no_progress)
            await other.close()
            again = await background.accept([Revocation(ids=(ids[1],)), Revocation(ids=(ids[2],))])
            await background.wait_until_idle()
            return [first, again]
        finally:
            await background.close()

    (first,), (again, third) = asyncio.run(requests())
    assert first.request_id
    assert third.request_id
    assert again.request_id is None, "the other machine has revoked it"
    assert len(receipts(store)) == 3


def test_a_worker_whose_process_was_killed_is_replaced(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=120)["id"].to_pylist()
    create_run(make_config(tmp_path / "all.parquet", training={"epochs": 2}), tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))

    def workers() -> list[psutil.Process]:
        module = "raymu.service.shard.process_fleet"
        return [child for child in psutil.Process().children() if module in child.cmdline()]

    async def delete_twice() -> None:
        background = BackgroundCoordinator(str(tmp_path / "run"), trust=store.trust)
        try:
            for sample_id in ids[:2]:
                await background.accept([Revocation(ids=(sample_id,), strategy="sisa")])
                await background.wait_until_idle()
                [worker] = workers()
                worker.kill()
                worker.wait()
        finally:
            await background.close()

    asyncio.run(delete_twice())
    assert [receipt.stage for receipt in receipts(store)] == ["settled", "settled"]
    assert not workers()


def test_a_full_collection_of_garbage_passes_over_what_was_imported(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=120)["id"].to_pylist()
    create_run(make_config(tmp_path / "all.parquet", training={"epochs": 2}), tmp_path / "run")
    background = BackgroundCoordinator(str(tmp_path / "run"), trust=RunStore(str(tmp_path / "run")).trust)

    async def prepare_and_delete() -> None:
        try:
            await background.prepare()
            assert len(gc.get_objects(generation=2)) < gc.get_freeze_count()
            [result] = await background.accept([Revocation(ids=(ids[0],))])
            assert result.request_id
            await background.wait_until_idle()
        finally:
            await background.close()

    gc.unfreeze()
    try:
        asyncio.run(prepare_and_delete())
    finally:
        gc.unfreeze()
