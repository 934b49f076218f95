"""Validation on held-out samples: the law with early stopping, what is refused, and the run's own copy."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raymu
from raymu.config import Config
from raymu.core.verdict import Verdict
from raymu.errors import ConfigInvalid, DataInvalid, RunInvalid
from raymu.store.run import RunStore
from tests.support.examples import make_config, repaired_weights, write_samples


def write_held_out(folder: Path, table: pa.Table, *, first_id: int = 900_000) -> None:
    """Write noisy copies of 40 training samples under ids of their own."""
    rows = table.slice(0, 40).select(["label", "features"])
    values = rows["features"].combine_chunks().flatten().to_numpy()
    noisy = values + np.random.default_rng(2).normal(size=values.shape).astype(np.float32) * 2
    features = pa.FixedSizeListArray.from_arrays(pa.array(noisy.astype(np.float32)), 6)
    ids = np.arange(first_id, first_id + 40)
    pq.write_table(pa.table({"id": ids, "label": rows["label"], "features": features}), folder / "held-out.parquet")


def config_of(folder: Path, **settings: object) -> Config:
    tree = make_config(
        folder / "all.parquet",
        training={"epochs": 12, "learning_rate": 0.3},
        partition={"slices": 2},
        unlearning={"contributions": "gradient"},
    ).tree()
    validation = {"data": str(folder / "held-out.parquet"), "patience": 1, "metric": "score", **settings}
    return Config.parse({**tree, "validation": validation})


def test_forgetting_equals_a_training_without_the_samples_though_stages_end_early(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=120)
    write_held_out(tmp_path, table)
    config = config_of(tmp_path)
    ids = table["id"].to_pylist()[:3]
    with raymu.train(config, tmp_path / "run") as run:
        stages = run.training.stages
        assert any(stage.epochs is not None and stage.epochs < 8 for stage in stages)
        assert all(stage.validation_score is not None for stage in stages)
        assert run.training.passes == sum(stage.passes for stage in stages)
        run.revoke(ids, strategy="sisa")
        assert run.verify(replay=None).verdict is Verdict.PASS
    with raymu.train(config, tmp_path / "without", exclude=ids):
        pass
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "without")
    with raymu.train(config_of(tmp_path, patience=None), tmp_path / "whole", exclude=ids):
        pass
    assert repaired_weights(tmp_path / "whole") != repaired_weights(tmp_path / "without")


def test_a_lost_copy_of_the_held_out_samples_is_found_and_restored(tmp_path: Path) -> None:
    write_held_out(tmp_path, write_samples(tmp_path / "all.parquet", samples=60))
    with raymu.train(config_of(tmp_path), tmp_path / "run") as run:
        pass
    ref = RunStore(str(tmp_path / "run")).manifest.held_out
    assert ref is not None
    own = tmp_path / "run" / ref.path
    own.unlink()
    assert run.verify().verdict is Verdict.FAIL
    run.rebuild()
    assert run.verify().verdict is Verdict.PASS
    own.unlink()
    (tmp_path / "held-out.parquet").unlink()
    with pytest.raises(RunInvalid, match=r"has lost held-out-.*put either back"):
        run.rebuild()
    run.close()


def test_held_out_samples_must_not_be_trained_on(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=60)
    write_held_out(tmp_path, table, first_id=1000)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataInvalid, match=r"has 6 samples of the training data"):
        raymu.train(config_of(tmp_path), tmp_path / "run")
    assert sorted(tmp_path.iterdir()) == before
    shared = [number for number in table["id"].to_pylist() if number < 1040]
    with raymu.train(config_of(tmp_path), tmp_path / "run", exclude=shared):
        pass


def test_patience_and_recorded_updates_exclude_each_other(tmp_path: Path) -> None:
    tree = config_of(tmp_path).tree()
    with pytest.raises(ConfigInvalid, match=r"validation\.patience goes back to earlier weights"):
        Config.parse(json.loads(json.dumps({**tree, "unlearning": {"contributions": "batch"}})))
