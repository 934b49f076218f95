"""GPUs that a run does not use, and GPUs on other machines than the client's."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from raymu.config import Config
from raymu.core.verdict import Verdict
from raymu.data.tables import read_test_data
from raymu.service.audit.audit import audit
from raymu.service.audit.forget_set import AuditScope
from raymu.service.audit.tasks import one_after_another
from raymu.service.planning.profile import profile
from raymu.service.prediction import Ensemble
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from raymu.training.audit.shadow_models import AuditedModel, AuditTask
from tests.support.coordinated_run import ids_at, journal_events
from tests.support.examples import make_config, revoke, train_run, write_samples
from tests.support.other_device import on


def config_on_ray(folder: Path, **cluster: object) -> Config:
    write_samples(folder / "all.parquet")
    data = {"test": str(folder / "all.parquet"), "track_accuracy": True}
    return make_config(folder / "all.parquet", data=data, cluster={"fleet": "ray", **cluster})


def where_the_gpus_are(tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
    return one_after_another([replace(task, samples=replace(task.samples, device="cpu")) for task in tasks])


def test_a_run_on_ray_without_gpus_per_shard_does_not_use_visible_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, location = config_on_ray(tmp_path), tmp_path / "run"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    run = train_run(config, location)
    receipts = [
        revoke(run, ids_at(config, slice_index=at)[:2], strategy=strategy)
        for at, strategy in ((1, "sisa"), (2, "dpus"))
    ]
    assert all(
        json.loads(part.determinism)["device"].startswith("cpu") for receipt in receipts for part in receipt.shards
    )
    assert [event.kind for event in journal_events(location)].count("evaluated") == 3
    store = RunStore(str(location))
    Ensemble.current(store).evaluate(
        *read_test_data(config.data, store.manifest.class_table, store.manifest.input_shape)
    )
    assert verify(store, no_progress, replay=range(2)).verdict is not Verdict.FAIL
    assert audit(store, AuditScope(shadow_models=4)).requests
    assert profile(config).seconds_per_pass > 0


def test_a_run_whose_gpus_are_elsewhere_is_predicted_from_verified_audited_and_planned_here(tmp_path: Path) -> None:
    config, location = config_on_ray(tmp_path), tmp_path / "run"
    with on("T4"):
        run = train_run(config, location)
        revoke(run, ids_at(config, slice_index=1)[:2], strategy="sisa")
    store = RunStore(str(location))
    tree = config.tree()
    tree["training"]["device"], tree["cluster"]["gpus_per_shard"] = "cuda", 0.25
    store.config = Config.parse(tree)
    Ensemble.current(store).evaluate(
        *read_test_data(config.data, store.manifest.class_table, store.manifest.input_shape)
    )
    [replayed] = [check for check in verify(store, no_progress, replay=range(2)).checks if check.name == "replay"]
    assert replayed.verdict is Verdict.INCONCLUSIVE
    assert ["device T4" in finding.what for finding in replayed.findings] == [True, True]
    assert audit(store, AuditScope(shadow_models=4), run_tasks=where_the_gpus_are).requests
    assert profile(store.config).seconds_per_pass > 0
