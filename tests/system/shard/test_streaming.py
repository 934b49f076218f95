"""A shard that is read from a disk, batch by batch, has the bits of one that is in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.core.records import FileRef
from raymu.data.rows import Columns, Rows
from raymu.data.stored_rows import ScratchFile, StoredRows
from raymu.errors import StorageFailed
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard import files
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from tests.support.examples import make_config, revoke, train_run
from tests.support.task_runs import TASK_SETTINGS, make_task_table

WAYS: Mapping[str, dict[str, Any]] = {
    **TASK_SETTINGS,
    "tensor, group": {
        **TASK_SETTINGS["tensor"],
        "unlearning": {"contributions": "group", "groups_per_slice": 2},
    },
    "tensor, ranks": {
        **TASK_SETTINGS["tensor"],
        "model": {"name": "mlp", "hidden": [4], "dropout": 0.3, "batch_norm": True},
        "cluster": {"workers_per_shard": 2},
    },
    "tensor, one number": {**TASK_SETTINGS["tensor"], "data": {"features": ["left"], "label": "kind"}},
}


def states(folder: Path, way: str, *, samples_memory_gb: float, strategy: str) -> list[list[FileRef]]:
    """Train a run, revoke from it, and return the files of all shards, before and after."""
    coordinator, location = trained(folder, way, samples_memory_gb=samples_memory_gb, name=strategy)
    before = files_of(location)
    revoke(coordinator, ids=[3, 41], strategy=strategy)
    return [before, files_of(location)]


def trained(folder: Path, way: str, *, samples_memory_gb: float, name: str) -> tuple[Coordinator, Path]:
    branches = WAYS[way]
    cluster = {"samples_memory_gb": samples_memory_gb, **branches.get("cluster", {})}
    data = {"train": str(folder / "all.parquet"), "classes": None, **branches["data"]}
    own = {name: settings for name, settings in branches.items() if name not in ("data", "cluster")}
    config = make_config("", training={"epochs": 3, "batch_size": 8}, **{**own, "data": data, "cluster": cluster})
    location = folder / f"{samples_memory_gb}-{name}"
    return train_run(config, location), location


def files_of(location: Path) -> list[FileRef]:
    lineages = RunStore(str(location)).current().lineages
    return [file for lineage in lineages for file in sorted(lineage.files, key=lambda file: file.path)]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of rows of each reading."""
    read, take = list[int](), ScratchFile.take

    def watch(file: ScratchFile, numbers: npt.NDArray[np.int64]) -> Rows:
        read.append(len(numbers))
        return take(file, numbers)

    monkeypatch.setattr(ScratchFile, "take", watch)
    return read


NIGHTLY = {"own, labels", "tensor, regression", "text", "image", "tensor, one number"}


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.nightly) if way in NIGHTLY else way for way in WAYS]
)
def test_a_shard_on_a_disk_is_trained_and_retrained_to_the_same_bits(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(make_task_table(), tmp_path / "all.parquet")
    monkeypatch.setattr(files, "_PART_BYTES", 64)  # several parts
    in_memory = states(tmp_path, way, samples_memory_gb=4, strategy="sisa")
    read = watched(monkeypatch)
    assert states(tmp_path, way, samples_memory_gb=0, strategy="sisa") == in_memory
    assert read


@pytest.mark.parametrize(
    "way", ["tensor, group", *(pytest.param(way, marks=pytest.mark.nightly) for way in ("tensor", "tabular"))]
)
def test_a_shard_on_a_disk_is_patched_to_the_same_bits(tmp_path: Path, way: str) -> None:
    pq.write_table(make_task_table(), tmp_path / "all.parquet")
    in_memory, on_disk = (states(tmp_path, way, samples_memory_gb=size, strategy="dpus") for size in (4, 0))
    assert on_disk == in_memory


def test_no_batch_of_a_large_shard_is_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(make_task_table(), tmp_path / "all.parquet")
    read = watched(monkeypatch)
    for module in ("raymu.training.encoder._GATHERED_VALUES", "raymu.data.stored_rows.PART_VALUES"):
        monkeypatch.setattr(module, 16)
    trained(tmp_path, "tensor", samples_memory_gb=0, name="run")
    assert max(read) <= 8


def test_a_folder_without_room_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(make_task_table(), tmp_path / "all.parquet")
    _, location = trained(tmp_path, "tensor", samples_memory_gb=0, name="run")

    def full(_file: ScratchFile, _parts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ScratchFile, "__init__", full)
    store = RunStore(str(location))
    with pytest.raises(StorageFailed, match="set TMPDIR"):
        read_shard_samples(store, store.current().lineages[0].table)


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(60, dtype=np.int16).reshape(10, 2, 3),
        np.arange(10, dtype=np.float64).reshape(10, 1),
        Columns.of(pa.table({"a": ["x", None, "z"] * 3 + ["y"], "b": pa.array([[1], [2, 3]] * 5)})),
    ],
)
def test_rows_on_a_disk_are_selected_as_rows_in_memory(rows: Rows) -> None:
    stored = StoredRows(file=ScratchFile(iter([rows[:3], rows[3:3], rows[3:4], rows[4:]])), numbers=np.arange(10))
    for index in (slice(2, 7), np.array([9, 0, 3, 3]), np.arange(10) % 3 == 0, slice(4, 4)):
        taken, expected = stored[index].read(), rows[index]
        if isinstance(expected, Columns):
            assert isinstance(taken, Columns)
            assert taken.table.equals(expected.table)
        else:
            assert isinstance(taken, np.ndarray)
            assert (taken.dtype, taken.tolist()) == (expected.dtype, expected.tolist())
