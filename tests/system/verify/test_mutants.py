"""Workers that do not do what they report fail verification, even if all seals and signatures are valid."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymu.core.partition import identity_hashes
from raymu.core.verdict import Verdict
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.files import read_shard_samples
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import Verification, verify
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples
from raymu.training.determinism import DeterminismClass
from raymu.training.trainer import ShardTrainer
from tests.support.coordinated_run import ids_at, lineage_of
from tests.support.examples import make_config, revoke, settle, train_run, write_samples


@pytest.fixture(params=["gradient", "group"])
def course(request: pytest.FixtureRequest, tmp_path: Path) -> Coordinator:
    write_samples(tmp_path / "all.parquet", samples=80)
    unlearning = {"contributions": request.param, "groups_per_slice": 2}
    return train_run(make_config(tmp_path / "all.parquet", unlearning=unlearning), tmp_path / "run")


def revoke_one(run: Coordinator, tmp_path: Path, strategy: str = "sisa") -> None:
    revoke(run, ids_at(RunStore(str(tmp_path / "run")).config, shard=0)[:1], strategy=strategy)


def verified(run: Coordinator, tmp_path: Path, *, is_replayed: bool = False) -> Verification:
    asyncio.run(run.close())
    return verify(RunStore(str(tmp_path / "run")), no_progress, replay=[0, 1] if is_replayed else ())


def test_a_row_left_in_is_found(course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.service.shard.worker.write_without", lambda _store, _shard, ref, _forget: ref)
    revoke_one(course, tmp_path)
    assert verified(course, tmp_path).verdict is Verdict.FAIL


def test_a_worker_that_secretly_forgets_nothing_is_found(
    course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains on the revoked sample and keeps it, and its records agree with that."""
    monkeypatch.setattr(ShardSamples, "isin", lambda self, _hashes: np.zeros(len(self), dtype=bool))
    monkeypatch.setattr("raymu.service.shard.worker.write_without", lambda _store, _shard, ref, _forget: ref)
    revoke_one(course, tmp_path)
    assert verified(course, tmp_path).verdict is Verdict.FAIL


@pytest.mark.parametrize("is_patched_first", [False, True])
def test_a_worker_that_trains_on_samples_it_claims_to_forget_is_found(
    course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_patched_first: bool
) -> None:
    """Every record is right, but the weights are the earlier ones, which were trained with the sample."""
    everything = read_shard_samples(RunStore(str(tmp_path / "run")), lineage_of(tmp_path / "run", 0).table)
    if is_patched_first:
        revoke_one(course, tmp_path, strategy="dpus")
    with monkeypatch.context() as patch:
        patch.setattr(ShardTrainer, "train_stage", training_on(everything))
        if is_patched_first:
            settle(course)
        else:
            revoke_one(course, tmp_path)
    verification = verified(course, tmp_path, is_replayed=True)
    assert {check.name: check.verdict for check in verification.checks if check.name in ("lineage", "replay")} == {
        "lineage": Verdict.INCONCLUSIVE,
        "replay": Verdict.FAIL,
    }


def test_a_worker_that_also_covers_its_tracks_is_found_by_the_replay(
    course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes one of the two samples that it has to forget."""
    table = lineage_of(tmp_path / "run", 0).table
    samples = read_shard_samples(RunStore(str(tmp_path / "run")), table)
    config = RunStore(str(tmp_path / "run")).config
    left_in, *others = ids_at(config, shard=0, slice_index=0)[:2]
    is_left_out = samples.isin(identity_hashes(others, seed=config.partition.seed, purpose="sample"))
    with monkeypatch.context() as patch:
        patch.setattr(ShardTrainer, "train_stage", training_on(samples.where(~is_left_out)))
        revoke(course, [left_in, *others], strategy="sisa")
    assert verified(course, tmp_path).verdict is Verdict.PASS  # the records alone do not show it
    assert verified(course, tmp_path, is_replayed=True).verdict is Verdict.FAIL


def training_on(samples: ShardSamples) -> Callable[..., int]:
    """Return a training that uses these samples, and ignores those of the command."""
    train_stage = ShardTrainer.train_stage

    def train(training: ShardTrainer, _samples: ShardSamples, *stage: Any) -> int:
        return train_stage(training, samples, *stage)

    return train


def test_training_with_another_thread_count_cannot_be_compared(
    course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunStore(str(tmp_path / "run")).config
    others = replace(config, cluster=replace(config.cluster, threads=2))
    monkeypatch.setattr(RunStore, "config", others)
    verification = verified(course, tmp_path, is_replayed=True)
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert "threads 1" in verification.checks[-1].findings[0].what


@pytest.mark.parametrize("change", [{"torch": "1.0"}, {"device": "cpu of another kind"}, {"deterministic": False}])
def test_training_in_another_determinism_class_cannot_be_compared(
    course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """A worker that claims another determinism class."""
    own = DeterminismClass.json
    with monkeypatch.context() as patch:
        patch.setattr(DeterminismClass, "json", lambda it: json.dumps(json.loads(own(it)) | change, sort_keys=True))
        revoke_one(course, tmp_path)
    verification = verified(course, tmp_path, is_replayed=True)
    assert verification.verdict is Verdict.INCONCLUSIVE
    [(name, value)] = change.items()
    assert f"{name} {value}" in verification.checks[-1].findings[0].what
