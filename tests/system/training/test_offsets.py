"""Features whose variation is small beside their offset are standardised before they are cut to float32."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.cli import run_command
from raymu.core.verdict import Verdict
from raymu.data.columns import features_of_first_version, kept_features
from raymu.data.tables import read_table
from raymu.service import placement
from raymu.service.coordinator.damage import Damage
from raymu.service.coordinator.lost_samples import restore_samples
from raymu.service.prediction import Ensemble
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.examples import create_run, make_config, revoke, train_run

CLASSES = np.random.default_rng(0).integers(0, 2, 400)
NOISE = np.random.default_rng(1).random(400)
FEATURES: dict[str, npt.NDArray[np.generic]] = {
    "seconds since 1970": 1_700_000_000 + 40 * CLASSES + (20 * NOISE).astype(np.int64),
    "nanoseconds since 1970": 10**9 * (1_700_000_000 + 40 * CLASSES + (20 * NOISE).astype(np.int64)),
    "metres of a map projection": 5_812_345.0 + 0.4 * CLASSES + 0.1 * NOISE,
    "32-bit integers": (2_000_000_000 + 40 * CLASSES + 20 * NOISE).astype(np.int32),
    "without an offset": 40.0 * CLASSES + 20 * NOISE,
}


def write(path: Path, values: npt.NDArray[np.generic]) -> None:
    """Write one feature that separates the classes, and a constant one."""
    constant = np.full(len(values), 7, dtype=values.dtype)
    pq.write_table(pa.table({"id": np.arange(len(values)), "label": CLASSES, "t": values, "k": constant}), path)


@pytest.mark.parametrize("values", FEATURES.values(), ids=FEATURES)
def test_an_offset_costs_no_accuracy_and_a_constant_column_is_no_fault(
    tmp_path: Path, values: npt.NDArray[np.generic]
) -> None:
    write(tmp_path / "all.parquet", values)
    config = make_config(
        tmp_path / "all.parquet",
        data={"classes": 2, "features": ["t", "k"]},
        model={"name": "logistic"},
        training={"epochs": 30, "learning_rate": 0.5},
    )
    coordinator = train_run(config, tmp_path / "run")
    revoke(coordinator, [3, 4], strategy="sisa")
    asyncio.run(coordinator.close())
    store = RunStore(str(tmp_path / "run"))
    table = read_table(config.data.train, config.data, is_wide=True)
    assert Ensemble.current(store).evaluate(table.features, table.labels).accuracy == 1.0
    assert verify(store, no_progress, replay=range(2)).verdict is Verdict.PASS


@pytest.mark.parametrize("keep", [kept_features, lambda features, _: features_of_first_version(features)])
def test_a_lost_table_is_restored_from_the_training_file_as_this_and_as_the_first_version_kept_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Callable[..., npt.NDArray[Any]]
) -> None:
    monkeypatch.setattr(placement, "kept_features", keep)
    write(tmp_path / "all.parquet", FEATURES["seconds since 1970"])
    config = make_config(tmp_path / "all.parquet", data={"classes": 2, "features": ["t", "k"]})
    create_run(config, tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))
    lineage = store.current().lineages[0]
    (tmp_path / "run" / lineage.table.path).unlink()
    restore_samples(store, Damage(lineage=lineage, files=(lineage.table,)), revoked={}, data=config.data.train)
    assert store.files.read_checked(lineage.table)


def test_an_import_keeps_what_float32_would_lose_and_nothing_wider(tmp_path: Path) -> None:
    rows = [f"{label},{1_700_000_000 + 40 * label + row % 7},0.{row % 9}" for row, label in enumerate(CLASSES[:50])]
    for name, columns, kind in (("offset", 3, pa.float64()), ("plain", 2, pa.float32())):
        lines = ["label,t,x" if columns == 3 else "label,x"]
        lines += [row if columns == 3 else ",".join(row.split(",")[::2]) for row in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        words = ["import", str(tmp_path / f"{name}.csv"), "--out", str(tmp_path / f"{name}.parquet")]
        assert run_command([*words, "--label", "label"]) == (0, "")
        assert pq.read_schema(tmp_path / f"{name}.parquet").field("features").type.value_type == kind
