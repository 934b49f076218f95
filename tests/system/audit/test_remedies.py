"""Audits repeat the remedy of a run, with the code and the settings that repaired it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymu.config import Config
from raymu.console.audit_tables import show_audit
from raymu.console.screen import Screen
from raymu.core.audit.forgetting import FloorRatio
from raymu.core.records import Remedy, SampleId
from raymu.core.verdict import Verdict
from raymu.service.audit import audit as auditing
from raymu.service.audit.audit import audit
from raymu.service.audit.forget_set import AuditScope
from raymu.service.audit.report import ROW_NAMES, AuditReport, RemedyAudit
from raymu.service.audit.shard_models import TWINS
from raymu.service.audit.tasks import one_after_another
from raymu.service.shard import shard_patcher
from raymu.store.anchors import VARIABLE
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from raymu.training import patch
from raymu.training.audit.samples import ModelKind
from raymu.training.audit.shadow_models import AuditedModel, AuditTask, train_model
from raymu.training.stages import StageResult, StageTask, train_stages
from tests.support.coordinated_run import ids_at, opened
from tests.support.examples import create_run
from tests.support.format_pages import field_names, undocumented
from tests.support.golden_journals import GOLDEN
from tests.system.audit.examples import letter_config, write_letters

REPETITIONS = 3


@pytest.fixture(autouse=True)
def own_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of these tests are copies, which did not go on from each other."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "anchors"))


class Runs:
    """Runs on the same few letters. They are trained for a few epochs, once for each configuration."""

    def __init__(self, folder: Path) -> None:
        write_letters(folder, text_ids=True)
        self.folder = folder
        self._trained: dict[str, Path] = {}

    def config(self, **branches: dict[str, Any]) -> Config:
        tree = letter_config(self.folder).tree()
        tree["training"] |= {"epochs": 9}
        return Config.parse(tree | {name: tree[name] | branch for name, branch in branches.items()})

    def revoked(self, name: str, config: Config, requests: list[tuple[list[SampleId], str]]) -> RunStore:
        """Carry out some requests of a trained run one after another: their ids and strategies."""
        key = json.dumps(config.tree(), sort_keys=True)
        if key not in self._trained:
            self._trained[key] = self.folder / f"trained-{len(self._trained)}"
            create_run(config, self._trained[key])
        location = shutil.copytree(self._trained[key], self.folder / name)
        with opened(location) as run:
            for ids, strategy in requests:
                run.revoke(ids, strategy=strategy)
        return RunStore(str(location))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("remedies"))


class Watched:
    """Trains the models of an audit, and keeps them."""

    def __init__(self) -> None:
        self.tasks: list[AuditTask] = []
        self.models: list[AuditedModel] = []

    def __call__(self, tasks: Any) -> Any:
        self.tasks = list(tasks)
        for model in one_after_another(tasks):
            self.models.append(model)
            yield model

    def of(self, kind: ModelKind) -> list[AuditedModel]:
        return [model for task, model in zip(self.tasks, self.models, strict=True) if task.kind is kind]


def audited(store: RunStore, trainer: Any = one_after_another, **scope: Any) -> AuditReport:
    return audit(store, AuditScope(shadow_models=4, repetitions=REPETITIONS, **scope), run_tasks=trainer)


def remedy_of(report: AuditReport) -> RemedyAudit:
    assert report.together.remedy is not None
    return report.together.remedy


SGD = {"optimizer": "sgd", "learning_rate": 0.1}
nightly = partial(pytest.param, marks=pytest.mark.nightly)


@pytest.mark.parametrize(
    ("strategy", "branches"),
    [
        ("dpus", {}),
        nightly("dpus", {"unlearning": {"contributions": "gradient"}}),
        nightly("dpus", {"unlearning": {"contributions": "batch"}, "training": SGD}),
        nightly("dpus", {"unlearning": {"calibration": False, "contributions": "gradient"}}),
        nightly("ohs", {"unlearning": {"contributions": "gradient"}}),
        ("ohs", {"unlearning": {"contributions": "gradient", "ohs": {"remedy": "replay"}}}),
    ],
    ids=["the default", "gradient", "batch", "not calibrated", "fine-tune", "replay"],
)
def test_the_first_repetition_gives_the_bits_that_the_run_serves(
    runs: Runs, tmp_path: Path, strategy: str, branches: dict[str, Any]
) -> None:
    config = runs.config(**branches)
    ids = ids_at(config, shard=1, slice_index=1)[:5]
    store = runs.revoked(tmp_path.name, config, [(ids, strategy)])
    trainer = Watched()
    report = audited(store, trainer)
    first = trainer.of(ModelKind.BEFORE)[0].remedied
    assert first is not None
    assert first.weights_sha256 == store.current().lineages[1].serving.weights_sha256
    remedy = remedy_of(report)
    assert (remedy.repetitions, remedy.samples, remedy.is_exact, remedy.failed_patches) == (REPETITIONS, 5, None, 0)
    assert Remedy.RETRAIN not in remedy.remedies
    assert "repeated 3 times, it ended" in report.together.reason


def test_two_patches_of_one_shard_are_repeated_in_their_order(runs: Runs) -> None:
    config = runs.config()
    ids = ids_at(config, shard=0, slice_index=2)
    store = runs.revoked("two", config, [(ids[:4], "dpus"), (ids[4:7], "dpus")])
    trainer = Watched()
    report = audited(store, trainer)
    first = trainer.of(ModelKind.BEFORE)[0].remedied
    assert first is not None
    assert first.weights_sha256 == store.current().lineages[0].serving.weights_sha256
    assert sorted(request.remedy.samples for request in report.requests if request.remedy) == [3, 4]


def test_models_are_shared_by_the_attacks_and_the_repetitions(runs: Runs) -> None:
    config = runs.config()
    store = runs.revoked("shared", config, [(ids_at(config, shard=0)[:6], "dpus")])
    trainer = Watched()
    report = audited(store, trainer)
    counts = {kind: len(trainer.of(kind)) for kind in ModelKind}
    assert counts == {
        ModelKind.BEFORE: REPETITIONS,
        ModelKind.ORACLE: max(1 + TWINS, 2 * REPETITIONS),
        ModelKind.SHADOW: 4,
    }
    alone = audit(store, AuditScope(shadow_models=4, repetitions=0))
    assert alone.together.remedy is None
    assert alone.repetitions == 0
    assert (alone.together.comparison, alone.together.attacks) == (report.together.comparison, report.together.attacks)
    assert alone.shards == report.shards


def test_the_rows_are_those_of_the_ruler(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    config = runs.config()
    store = runs.revoked("rows", config, [(ids_at(config, shard=0)[:8], "dpus")])
    report = audited(store)
    show_audit(Screen(), report, is_whole=True)
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for name in ("remedy", "untouched", "control", "other seed (floor)", "exact"):
        rows = [line for line in shown if line.startswith(f"{name} ")]
        assert [len(line) <= 80 for line in rows] == [True, True]  # distances, then other samples and cost
    remedy = remedy_of(report)
    assert tuple(row.name for row in remedy.rows) == ROW_NAMES
    figures = {row.name: row.forgetting for row in remedy.rows}
    floor, exact, untouched = figures["other_seed"], figures["exact"], figures["untouched"]
    assert floor.forget.paired > 0.0 == exact.forget.paired
    assert floor.forget.gaussian_klom == exact.forget.gaussian_klom
    assert remedy.row("other_seed").over_floor == replace_all(1.0)
    assert untouched.cost.passes == 0.0 < figures["remedy"].cost.passes
    assert figures["control"].cost.passes < exact.cost.passes
    assert untouched.relearning_steps == 0.0
    assert exact.relearning_steps is not None
    assert exact.relearning_steps > 0.0
    assert all(0.5 < figure.accuracy <= 1.0 for figure in figures.values())


def replace_all(value: float) -> FloorRatio:
    return FloorRatio(klom=value, gaussian_klom=value, paired=value)


def test_a_retrained_request_is_proven_exact_by_repeating_it_once(runs: Runs) -> None:
    config = runs.config()
    ids = ids_at(config, shard=0, slice_index=1)[:3]
    store = runs.revoked("exact", config, [(ids, "sisa")])
    trainer = Watched()
    report = audited(store, trainer)
    remedy = remedy_of(report)
    assert (remedy.is_exact, remedy.remedies) == (True, (Remedy.RETRAIN,))
    assert report.verdict is Verdict.PASS
    assert report.together.reason.startswith(
        "bit for bit the retrained oracle; the retraining, repeated, gave the oracle"
    )
    assert [model.remedied is not None for model in trainer.of(ModelKind.BEFORE)] == [True, False, False]
    row = remedy.row("remedy").forgetting
    assert row.forget.paired == row.retained.paired == row.test.paired == 0.0
    assert row.forget == remedy.row("exact").forgetting.forget
    assert row.cost.passes == pytest.approx(remedy.row("exact").forgetting.cost.passes)
    oracle_passes = trainer.of(ModelKind.ORACLE)[0].passes
    assert row.cost.passes < oracle_passes  # the first slice's stage is not trained again


def test_a_retraining_that_gives_other_bits_is_said(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    config = runs.config()
    store = runs.revoked("changed", config, [(ids_at(config, shard=0, slice_index=1)[:3], "sisa")])

    def with_a_sample_less(task: StageTask) -> Iterator[StageResult]:
        is_kept = np.arange(len(task.samples)) > 0
        yield from train_stages(replace(task, samples=task.samples.where(is_kept)) if task.first else task)

    monkeypatch.setattr("raymu.service.audit.repetition.train_stages", with_a_sample_less)
    report = audited(store)
    assert remedy_of(report).is_exact is False
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "gave other bits than training from scratch" in report.together.reason


def test_a_settled_request_counts_as_retrained(runs: Runs) -> None:
    config = runs.config()
    store = runs.revoked("settled", config, [(ids_at(config, shard=0)[:4], "dpus")])
    with opened(Path(store.location)) as run:
        run.settle()
    report = audited(RunStore(store.location))
    assert (remedy_of(report).is_exact, remedy_of(report).remedies) == (True, (Remedy.RETRAIN,))


def test_only_what_is_patched_is_measured_of_requests_of_both_kinds(runs: Runs) -> None:
    config = runs.config()
    first, second = ids_at(config, shard=0), ids_at(config, shard=1)
    store = runs.revoked("both", config, [(first[:3], "sisa"), (first[3:8] + second[:4], "dpus")])
    report = audited(store)
    exact, patched = sorted(report.requests, key=lambda request: request.samples)
    assert exact.remedy is not None
    assert patched.remedy is not None
    assert (remedy_of(report).samples, patched.remedy.samples, exact.remedy.samples) == (9, 9, 3)
    assert remedy_of(report).remedies == patched.remedy.remedies == (Remedy.PATCH,)
    # The shard of the exact request is patched since, and so no longer exact.
    assert exact.remedy.is_exact is None
    assert exact.remedy.row("remedy").forgetting.forget.paired > 0.0


def test_a_remedy_that_does_nothing_fails(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The served model is a retrained one, so that only the repetitions can find the fault."""
    config = runs.config(training={"epochs": 24})
    store = runs.revoked("nothing", config, [(ids_at(config, shard=0, slice_index=2)[:25], "dpus")])
    monkeypatch.setattr(
        shard_patcher, "calibrate", lambda *_parts, **_aim: patch.PatchResult(passes=0.0, strength=0.0, forget_loss=0.0)
    )
    monkeypatch.setattr(
        auditing, "restored_model", lambda pool, *_rest, **_source: train_model(pool, ModelKind.ORACLE, 99)
    )
    report = audit(store, AuditScope(shadow_models=8, repetitions=6))
    remedy = remedy_of(report)
    assert remedy.row("remedy").forgetting.forget == remedy.row("untouched").forgetting.forget
    assert not report.together.comparison.served.remembers
    assert report.verdict is Verdict.FAIL
    assert report.together.reason.startswith("the remedy can be told from retraining")
    assert "cannot be distinguished" in report.together.reason


def test_the_document_names_no_sample_and_its_fields_are_documented(runs: Runs) -> None:
    config = runs.config()
    store = runs.revoked("named", config, [(ids_at(config, shard=0)[:4], "dpus")])
    tree = to_tree(audited(store))
    text = json.dumps(tree, allow_nan=False)
    assert undocumented(tree, "audit") == set()
    old = json.loads((GOLDEN / "0.1" / "audit.json").read_text())
    assert set(field_names(old)) - set(field_names(tree)) == {"row"}
    assert "sample-" not in text
    assert '"row":' not in text
    assert '"rows":' in text
