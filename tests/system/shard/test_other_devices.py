"""A shard that is repaired in another determinism class than it was trained in is never called exact."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raymu.core.commands import TrainShard
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness, SampleId, ShardState
from raymu.core.verdict import Verdict
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import TrainReport, TrainTask, no_progress
from raymu.service.shard.worker import ShardWorker
from raymu.service.status import status
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from raymu.training.stages import StageResult, StageTask, train_stages
from tests.support.coordinated_run import constituent_of, ids_at, issued_receipts, lineage_of
from tests.support.examples import make_config, revoke, settle, train_run, write_samples
from tests.support.other_device import on


@pytest.fixture
def run(tmp_path: Path) -> Coordinator:
    write_samples(tmp_path / "all.parquet", samples=200)
    with on("T4"):
        return train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")


def ids(location: Path, slice_index: int) -> list[SampleId]:
    return ids_at(RunStore(str(location)).config, shard=0, slice_index=slice_index)


def devices(receipt: Receipt) -> list[str]:
    [part] = receipt.shards
    return [json.loads(text)["device"] for text in (part.determinism, *part.earlier_classes)]


def test_a_shard_of_two_determinism_classes_is_inconclusive_everywhere(run: Coordinator, tmp_path: Path) -> None:
    location = tmp_path / "run"
    with on("A100"):
        receipt = revoke(run, ids(location, 1)[:2], strategy="sisa")
    [part] = receipt.shards
    assert (receipt.exactness, part.exactness) == (Exactness.INCONCLUSIVE, Exactness.INCONCLUSIVE)
    assert devices(receipt) == ["A100", "T4"]
    assert part.reason.endswith("its earlier stages are of another determinism class (device T4, now A100)")
    assert receipt.settled_at == receipt.published_at
    assert issued_receipts(location)[-1].exactness is Exactness.INCONCLUSIVE
    assert constituent_of(location, 0).state is ShardState.INCONCLUSIVE
    assert [shard.state for shard in status(RunStore(str(location))).shards] == ["inconclusive", "exact"]
    verification = verify(RunStore(str(location)), no_progress)
    assert verification.verdict is Verdict.INCONCLUSIVE
    [finding] = [finding for check in verification.checks if check.name == "lineage" for finding in check.findings]
    assert finding.what.startswith("shard 0 is of more than one determinism class")


def test_a_repair_is_inconclusive_only_if_it_keeps_stages_of_another_class(run: Coordinator, tmp_path: Path) -> None:
    location = tmp_path / "run"
    with on("A100"):
        revoke(run, ids(location, 1)[:1], strategy="sisa")
    with on("T4"):
        beyond = revoke(run, ids(location, 2)[:1], strategy="sisa")
        assert (beyond.exactness, devices(beyond)) == (Exactness.INCONCLUSIVE, ["T4", "A100"])
        below = revoke(run, ids(location, 1)[1:2], strategy="sisa")
        assert (below.exactness, devices(below)) == (Exactness.EXACT, ["T4"])
    with on("A100"):
        whole = revoke(run, ids(location, 0)[:1], strategy="sisa")
        assert (whole.exactness, devices(whole)) == (Exactness.EXACT, ["A100"])
    assert lineage_of(location, 0).earlier_classes == ()
    assert constituent_of(location, 0).state is ShardState.EXACT


def test_a_shard_that_workers_of_two_kinds_trained_is_inconclusive(tmp_path: Path) -> None:
    def relayed(stages: StageTask) -> Iterator[StageResult]:
        with on("T4"):
            trained = next(train_stages(stages))
        yield trained
        with on("A100"):
            yield from train_stages(stages.after(trained))

    write_samples(tmp_path / "all.parquet")
    prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    *_, report = ShardWorker(store, relayed).run(
        TrainTask(command=TrainShard(shard=0, table=store.manifest.tables[0]), term=0)
    )
    assert isinstance(report, TrainReport)
    assert report.lineage.exactness is Exactness.INCONCLUSIVE


def test_settling_elsewhere_makes_a_patched_request_exact_in_one_class(run: Coordinator, tmp_path: Path) -> None:
    location = tmp_path / "run"
    with on("A100"):
        patched = revoke(run, ids(location, 2)[:1], strategy="dpus")
        assert (patched.exactness, devices(patched)) == (Exactness.APPROXIMATE, ["A100"])
        settle(run)
    receipt = run.receipt(patched.request_id)
    assert (receipt.exactness, devices(receipt)) == (Exactness.EXACT, ["A100"])
    assert receipt.settled_at
    assert lineage_of(location, 0).earlier_classes == ()


def test_settling_trains_an_inconclusive_shard_anew_in_the_class_of_its_workers(
    run: Coordinator, tmp_path: Path
) -> None:
    location = tmp_path / "run"
    with on("A100"):
        receipt = revoke(run, ids(location, 1)[:2], strategy="sisa")
        assert (receipt.exactness, receipt.due_met) == (Exactness.INCONCLUSIVE, None)
        result = asyncio.run(run.settle(no_progress))
        assert (result.shards, result.request_ids) == ((0,), (receipt.request_id,))
        settled = run.receipt(receipt.request_id)
        assert (settled.exactness, settled.due_met, devices(settled)) == (Exactness.EXACT, True, ["A100"])
        assert asyncio.run(run.settle(no_progress)).shards == ()
        assert issued_receipts(location)[-1] == settled
        assert constituent_of(location, 0).state is ShardState.EXACT
        asyncio.run(run.close())
        assert verify(RunStore(str(location)), no_progress, replay=[0]).verdict is Verdict.PASS
