"""An audit detects a model that was not patched, one that was patched too hard, and one that kept a sample."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raymu.core.records import SampleId
from raymu.core.verdict import Verdict
from raymu.service.audit import audit as auditing
from raymu.service.audit.audit import audit
from raymu.service.audit.forget_set import AuditScope
from raymu.service.audit.report import AuditReport
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.service.shard import shard_patcher
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import RepairTask
from raymu.store.run import RunStore
from raymu.training import calibration, patch
from raymu.training.audit.samples import ModelKind
from raymu.training.audit.shadow_models import train_model
from tests.support.coordinated_run import homes, opened
from tests.support.examples import create_run
from tests.support.scripted_fleet import ScriptedFleet
from tests.system.audit.examples import Trainer, letter_config, write_letters


class Runs:
    """Copies of one trained run. `heart` is a memorised sample, and `forget` has it and nine others of its shard."""

    def __init__(self, folder: Path) -> None:
        write_letters(folder)
        config = letter_config(folder)
        self._folder = folder
        create_run(config, folder / "run")
        [(self.heart, shard, _), *others] = homes(config)
        self.forget = [self.heart, *(sample_id for sample_id, home_shard, _ in others if home_shard == shard)][:10]
        self.trainer = Trainer()

    def revoke(self, name: str, strategy: str, fleet: Callable[[RunStore], LocalFleet] = LocalFleet) -> AuditReport:
        """Revoke from a copy, and audit it."""
        location = self._folder / name
        shutil.copytree(self._folder / "run", location)
        with opened(location, fleet(RunStore(str(location)))) as run:
            run.revoke(self.forget, strategy=strategy)
        return self.audit(name)

    def hash_key(self, name: str) -> bytes:
        return RunStore(str(self._folder / name)).keys.hash_key

    def audit(self, name: str) -> AuditReport:
        store = RunStore(str(self._folder / name))
        return audit(store, AuditScope(shadow_models=8, repetitions=0), run_tasks=self.trainer)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("audited"))


def test_an_exactly_retrained_shard_passes_as_the_oracle_itself(runs: Runs) -> None:
    report = runs.revoke("exact", "sisa")
    assert report.verdict is Verdict.PASS
    assert "bit for bit" in report.together.reason
    assert all(shard.is_oracle for shard in report.shards)
    assert report.accuracy.forget.served == report.accuracy.forget.oracle
    assert report.together.comparison.served == report.together.comparison.oracle


@pytest.mark.parametrize("strategy", ["dpus", "ohs"])
def test_a_calibrated_patch_passes(runs: Runs, strategy: str) -> None:
    report = runs.revoke(strategy, strategy)
    assert report.verdict is Verdict.PASS
    assert not any(shard.is_oracle for shard in report.shards)


def test_a_shard_that_was_not_patched_fails(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shard_patcher, "calibrate", lambda *_parts, **_aim: patch.PatchResult(passes=0.0, strength=0.0, forget_loss=0.0)
    )
    report = runs.revoke("unpatched", "dpus")
    assert report.verdict is Verdict.FAIL
    assert report.together.reason.startswith("remembers:")
    [shard] = report.shards
    assert (shard.relearning.served or 0) < (shard.relearning.oracle or 0)


def test_a_patch_at_triple_strength_fails_on_the_other_side(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    find = calibration.find_strength
    monkeypatch.setattr(calibration, "find_strength", lambda loss_at, aim, _bounds: 3.0 * find(loss_at, aim))
    # The strength that the forget set's own loss asks for, three times.
    monkeypatch.setattr(
        shard_patcher.ShardPatcher, "_draw", lambda _self, retain, _count: np.zeros(len(retain), dtype=bool)
    )
    report = runs.revoke("triple", "dpus")
    assert report.verdict is Verdict.FAIL
    assert report.together.reason.startswith("over-forgets:")


def test_one_sample_that_was_left_in_fails_and_is_the_worst_sample(runs: Runs) -> None:
    def keep_one_sample(task: RepairTask) -> RepairTask:
        """Retrain with one of the forgotten samples still in, and keep it in the shard's table."""
        return replace(task, forget=task.forget - {runs.heart})

    report = runs.revoke("left-in", "sisa", lambda store: ScriptedFleet(store, before=keep_one_sample))
    assert report.verdict is Verdict.FAIL
    assert report.together.reason.startswith("remembers:")
    worst = report.together.worst[0]
    assert worst.keyed_hash == pseudonym(identity_text("id", runs.heart), runs.hash_key("left-in"))
    assert worst.likelihood.served > 10.0 > worst.likelihood.oracle


def test_a_retraining_with_another_seed_passes(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """This retraining is exact too, although its bits differ from the run's own."""
    runs.revoke("other-seed", "sisa")
    monkeypatch.setattr(
        auditing, "restored_model", lambda pool, *_rest, **_source: train_model(pool, ModelKind.ORACLE, 99)
    )
    report = runs.audit("other-seed")
    assert not report.shards[0].is_oracle
    assert report.verdict is Verdict.PASS
    assert "cannot be distinguished" in report.together.reason


def test_too_few_samples_are_inconclusive(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    easy: Sequence[SampleId] = runs.forget[1:3]
    monkeypatch.setattr(runs, "forget", list(easy))
    report = runs.revoke("few", "dpus")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "too few data" in report.together.reason
