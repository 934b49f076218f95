"""Runs that train a part of a model: what is stored once, and what is said when it is damaged."""

import asyncio
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from examples.tokens import texts
from raymu import train
from raymu.config import Config
from raymu.core.findings import FindingKind
from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.errors import FileCorrupt
from raymu.service.prediction import Ensemble
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.training.checkpoint_format import deserialize
from tests.support.examples import repaired_weights
from tests.support.trained_runs import TrainedRun, TrainedRunFactory

EXAMPLE = Path(__file__).parents[3] / "examples" / "tokens.yaml"
ADAPTERS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [32, 32], "trainable": "adapters", "adapters": {"rank": 2}},
    "training": {"optimizer": "adam", "learning_rate": 0.05},
}


def base_files(run: TrainedRun) -> list[str]:
    return [path for path in run.store.files.walk() if path.startswith("base")]


def test_frozen_weights_are_in_the_run_once_and_in_no_checkpoint(trained_run: TrainedRunFactory) -> None:
    run = trained_run(**ADAPTERS)
    run.revoke(run.ids(shard=0, slice_index=1)[:2], strategy="sisa")
    asyncio.run(run.coordinator.close())
    [path] = base_files(run)
    assert run.store.manifest.base is not None
    assert run.store.manifest.base.path == path
    frozen = {name for name in deserialize(run.store.files.read(path), source=path) if "base_layer" in name}
    checkpoints = [path for path in run.store.files.walk("shards") if "stage" in path]
    stored = {name for path in checkpoints for name in deserialize(run.store.files.read(path), source=path)}
    assert frozen
    assert not {f"model.{name}" for name in frozen} & stored
    assert verify(run.store, no_progress).verdict is Verdict.PASS


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_damaged_base_weights_are_found_and_used_by_nobody(trained_run: TrainedRunFactory, damage: str) -> None:
    run = trained_run(**ADAPTERS)
    [path] = base_files(run)
    if damage == "missing":
        run.store.files.delete(path)
    else:
        run.store.files.write(path, run.store.files.read(path)[:-1] + b"\0")
    result = verify(run.store, no_progress)
    assert result.verdict is Verdict.FAIL
    kinds = {finding.kind for check in result.checks for finding in check.findings}
    assert kinds == {FindingKind.BASE_WEIGHTS}
    if damage == "changed":
        with pytest.raises(FileCorrupt):
            Ensemble.current(run.store)


def test_the_example_of_a_transformer_with_adapters_forgets_exactly(tmp_path: Path) -> None:
    table = texts()
    forgotten = [3, 7, 11]
    with train(tokens_config(table, tmp_path / "all.parquet"), tmp_path / "run") as run:
        assert run.evaluate(texts(100, seed=5)).accuracy > 0.6
        assert run.revoke(ids=forgotten, strategy="dpus").exactness is Exactness.APPROXIMATE
        run.settle()
        assert run.verify(replay=[0]).verdict == "pass"
    fewer = table.filter(pc.invert(pc.is_in(table["id"], pa.array(forgotten))))
    train(tokens_config(fewer, tmp_path / "fewer.parquet"), tmp_path / "scratch").close()
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "scratch")


def tokens_config(table: pa.Table, path: Path) -> Config:
    pq.write_table(table, path)
    return Config.load(EXAMPLE, [f"data.train={path}"])
