"""Ingest on a cluster writes the files that one process writes, and says of a bad table what it says."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

import raymu
from raymu import backends
from raymu.errors import DataInvalid
from raymu.runtime import ingest
from raymu.service.ingest import prepare_run
from raymu.service.placement import PlacedBatch
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples
from tests.support.process_memory import kept_by_ray
from tests.support.ray_internals import local_node

pytestmark = pytest.mark.usefixtures("ray_cluster", "room_for_one")
CONTROL = b"control-4711 "


def write_folders(folder: Path, table: pa.Table) -> None:
    """Write a table as Hive does, by owner, with small row groups."""
    for owner in table["owner"].unique().to_pylist():
        (folder / f"owner={owner}").mkdir(parents=True)
        rows = table.filter(pa.compute.equal(table["owner"], owner)).drop_columns("owner")
        pq.write_table(rows, folder / f"owner={owner}" / "part.parquet", row_group_size=9)


def settings(data: Path, **cluster: Any) -> Any:
    return make_config(
        data, data={"owner": "owner"}, partition={"shards": 2, "slices": 2}, cluster={"live_actors": 1, **cluster}
    )


def samples_of(run: Path) -> dict[str, bytes]:
    """Return the tables and the indexes of a run, by their names."""
    return {path.name: path.read_bytes() for path in (run / "samples").iterdir()}


def test_a_run_trained_from_folders_is_the_one_that_a_process_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=200, text_ids=True, owners=5)
    write_folders(tmp_path / "all", table)
    left_out: dict[str, Any] = {"exclude": table["id"].to_pylist()[3:9], "exclude_owners": ["owner-4"]}
    prepare_run(settings(tmp_path / "all"), str(tmp_path / "here"), **left_out).write()
    monkeypatch.setattr("raymu.core.fleet_choice.INGEST_ON_RAY_BYTES", 0)
    monkeypatch.setattr(ingest.RowsOnRay.__init__, "__kwdefaults__", {"part_bytes": 4000})
    placed, original = list[ingest.RowsOnRay](), ingest.RowsOnRay.place

    def watched(rows: ingest.RowsOnRay) -> Iterator[PlacedBatch]:
        placed.append(rows)
        return original(rows)

    monkeypatch.setattr(ingest.RowsOnRay, "place", watched)
    control = ray.put(np.frombuffer(CONTROL * 20_000, dtype=np.uint8))
    capfd.readouterr()
    with raymu.train(settings(tmp_path / "all", fleet="ray"), run_dir=tmp_path / "run", **left_out) as run:
        assert run.generation is not None
    assert len(placed) == 1
    assert capfd.readouterr() == ("", "")
    assert samples_of(tmp_path / "run") == samples_of(tmp_path / "here")
    routes = [RunStore(str(tmp_path / name)).manifest.routes for name in ("run", "here")]
    assert [len(of_run or ()) for of_run in routes] == [1, 1]
    names, is_control_seen = set[str](), False
    for place, content in kept_by_ray(Path(local_node().get_session_dir_path())):
        is_control_seen |= place == "object store" and CONTROL * 3 in content
        names |= {f"{word!r} in {place}" for word in (b"sample-1", b"owner-1", b"owner=owner") if word in content}
    assert is_control_seen
    assert not names
    del control


def test_ids_that_occur_again_in_another_file_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=120)
    table = table.set_column(0, "id", pa.array([*range(118), 3, 7]))
    write_folders(tmp_path / "all", table)
    refusals = []
    for rows in (None, partial(ingest.RowsOnRay, part_bytes=4000)):
        with pytest.raises(DataInvalid, match="2 occur again, such as") as refusal:
            prepare_run(settings(tmp_path / "all"), str(tmp_path / "run"), rows=rows)
        refusals.append(str(refusal.value))
        assert not (tmp_path / "run").exists()
    assert refusals[0] == refusals[1]


@pytest.mark.nightly
def test_held_out_samples_that_are_trained_on_are_counted(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=120)
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=50)
    pq.write_table(table.slice(100), tmp_path / "held-out.parquet")
    config = make_config(tmp_path / "all.parquet", validation={"data": str(tmp_path / "held-out.parquet")})
    rows = partial(ingest.RowsOnRay, part_bytes=2000)
    with pytest.raises(DataInvalid, match="has 19 samples of the training data"):
        prepare_run(config, str(tmp_path / "run"), rows=rows, exclude=table["id"].to_pylist()[-1:])
    assert not (tmp_path / "run").exists()


def test_only_a_large_table_is_placed_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path / "all.parquet")
    monkeypatch.setattr("raymu.core.fleet_choice.INGEST_ON_RAY_BYTES", 10**6)
    with backends.PlaceOfRows(settings(tmp_path, fleet="ray").cluster) as place:
        prepare_run(settings(tmp_path / "all.parquet"), str(tmp_path / "run"), rows=place).write()
    assert RunStore(str(tmp_path / "run")).manifest.tables
