"""Runs of a user's own task, with targets of every kind: the law holds, and everything a run does works."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu import AuditScope, open_run, train
from raymu.cli import run_command
from raymu.config import Config
from raymu.core.records import Exactness
from raymu.data.tables import read_features
from raymu.errors import ConfigInvalid, RequestInvalid
from raymu.service.audit.snapshot_report import SnapshotScope
from raymu.service.audit.two_snapshots import audit_two_snapshots
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.store.run import RunStore
from tests.support.examples import repaired_weights

CODE = "tests.unit.training.own_task"
TARGETS: dict[str, dict[str, Any]] = {
    "classes": {"outputs": 2, "label": "kind"},
    "labels": {"outputs": 3, "label": "tags"},
    "regression": {"outputs": 1, "label": "price"},
}


def write_rows(path: Path, *, without: Sequence[int] = ()) -> Path:
    """Write rows of numbers and words, whose targets depend on them."""
    random = np.random.default_rng(4)
    count = 120
    left, right = random.normal(size=(2, count))
    words = [random.integers(1, 10, int(random.integers(0, 5))).tolist() for _ in range(count)]
    table = pa.table(
        {
            "id": np.arange(count),
            "left": left,
            "right": right,
            "words": pa.array(words, pa.list_(pa.int64())),
            "kind": ["big" if total > 0 else "small" for total in left + right],
            "tags": [[name for name, is_there in zip("abc", (a > 0, b > 0, a > b), strict=True) if is_there]
                     for a, b in zip(left, right, strict=True)],
            "price": 1000.0 + 300.0 * left - 200.0 * right,
        }
    )  # fmt: skip
    kept = [row for row in range(count) if row not in set(without)]
    pq.write_table(table.take(pa.array(kept[::-1])), path)
    return path


def make_task_config(data: Path, target: str, **training: Any) -> Config:
    of_target = TARGETS[target]
    return Config.parse(
        {
            "data": {"train": str(data), "label": of_target["label"]},
            "task": {"factory": f"{CODE}:build_task", "target": target},
            "model": {"factory": f"{CODE}:build_model", "args": {"outputs": of_target["outputs"]}},
            "training": {"epochs": 3, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.05, "device": "cpu"}
            | training,
            "partition": {"shards": 2, "slices": 2},
            "unlearning": {"boundary": 0.0},
            "cluster": {"fleet": "local"},
        }
    )


@pytest.mark.parametrize("target", TARGETS)
def test_a_task_of_the_users_keeps_the_law_for_every_target(target: str, tmp_path: Path) -> None:
    config = make_task_config(write_rows(tmp_path / "all.parquet"), target)
    gone = [3, 40, 77]
    with train(config, tmp_path / "run") as run:
        receipt = run.revoke(gone, strategy="dpus")
        assert receipt.exactness is Exactness.APPROXIMATE, receipt.shards
        assert all(part.remedy == "patch" for part in receipt.shards), [part.reason for part in receipt.shards]
        run.settle()
        verification = run.verify(replay=[0, 1])
        assert verification.verdict == "pass", verification
        evaluation = run.evaluate_file(str(tmp_path / "all.parquet"))
    assert evaluation.accuracy > {"classes": 0.85, "labels": 0.75, "regression": 0.3}[target]
    fewer = replace(config, data=replace(config.data, train=str(write_rows(tmp_path / "fewer.parquet", without=gone))))
    train(fewer, tmp_path / "scratch").close()
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "scratch")


def test_predictions_of_numbers_are_in_the_unit_of_the_table(tmp_path: Path) -> None:
    config = make_task_config(write_rows(tmp_path / "all.parquet"), "regression", epochs=12)
    train(config, tmp_path / "run").close()
    run = open_run(tmp_path / "run")
    table = read_features(str(tmp_path / "all.parquet"), run.config.data, form=run.manifest.form)
    predicted = run.predict(table.features)
    assert predicted.shape == (120, 1)
    prices = pq.read_table(tmp_path / "all.parquet")["price"].to_numpy()
    assert np.abs(predicted[:, 0] - prices).mean() < 150.0
    assert run.manifest.class_names == ("price",)


def test_a_loss_of_another_target_is_refused_with_those_that_fit(tmp_path: Path) -> None:
    config = make_task_config(write_rows(tmp_path / "all.parquet"), "regression", loss="cross_entropy")
    with pytest.raises(ConfigInvalid, match=r"cross_entropy is no loss for task.target regression; use squared_error"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run for each target, of which samples were revoked."""
    folder = tmp_path_factory.mktemp("targets")
    data = write_rows(folder / "all.parquet")
    for target in ("labels", "regression"):
        with train(make_task_config(data, target), folder / target) as run:
            run.revoke([3, 40], strategy="sisa")
    return {target: folder / target for target in ("labels", "regression")}


def test_an_audit_of_several_labels_asks_for_all_of_them(trained: dict[str, Path]) -> None:
    data = str(trained["labels"].parent / "all.parquet")
    report = open_run(trained["labels"]).audit(AuditScope(data=data, shadow_models=4, repetitions=0))
    assert 0.5 < report.accuracy.retain.oracle <= 1.0
    assert report.verdict in ("pass", "inconclusive")


def test_what_has_no_meaning_for_numbers_says_so(trained: dict[str, Path]) -> None:
    run = open_run(trained["regression"])
    data = str(trained["regression"].parent / "all.parquet")
    with pytest.raises(RequestInvalid, match=r"which has no meaning for task\.target regression"):
        run.audit(AuditScope(data=data))
    with pytest.raises(RequestInvalid, match="probabilities of classes, which regression has not"):
        audit_two_snapshots(RunStore(run.location), SnapshotScope())
    with pytest.raises(RequestInvalid, match="a search scores the accuracy of classes"):
        TuningObjective(
            ObjectiveSpec(
                location=str(trained["regression"]),
                traffic="uniform:2",
                trace=None,
                test=data,
                scratch=str(trained["regression"].parent),
                workers=1,
            )
        )


def test_the_page_of_a_regression_has_no_accuracy(trained: dict[str, Path], tmp_path: Path) -> None:
    data = str(trained["regression"].parent / "all.parquet")
    page = tmp_path / "page.html"
    command = ["report", str(trained["regression"]), "--out", str(page), "--test-data", data]
    assert run_command(command)[0] == 0
    assert "R2 over generations" in page.read_text()
    assert "Accuracy" not in page.read_text()
