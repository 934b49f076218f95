"""Ingest on a cluster writes the files that one process writes, and says of a bad table what it says."""

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import yaml

import raymu
from raymu import backends
from raymu.errors import DataInvalid, DeviceUnavailable, RunInvalid
from raymu.runtime import ingest
from raymu.service.ingest import prepare_run
from raymu.service.placement import PlacedBatch
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer
from tests.support.process_memory import kept_by_ray
from tests.support.processes import own_processes
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


def has_torch(process: psutil.Process) -> bool:
    """Return whether a process has imported PyTorch, whose library it then has in memory."""
    return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()


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
    with_torch, write = list[bool](), ingest.RowsOnRay.write
    for process in own_processes("ray::IDLE"):
        process.kill()  # other tests may have used it

    def watched(rows: ingest.RowsOnRay) -> Iterator[PlacedBatch]:
        placed.append(rows)
        return original(rows)

    def watched_write(*values: Any) -> Iterator[FinishedShard]:
        yield from write(*values)
        with_torch.extend(map(has_torch, own_processes("ray::IDLE")))

    monkeypatch.setattr(ingest.RowsOnRay, "place", watched)
    monkeypatch.setattr(ingest.RowsOnRay, "write", watched_write)
    control = ray.put(np.frombuffer(CONTROL * 20_000, dtype=np.uint8))
    capfd.readouterr()
    with raymu.train(settings(tmp_path / "all", fleet="ray"), run_dir=tmp_path / "run", **left_out) as run:
        assert run.generation is not None
    assert len(placed) == 1
    assert with_torch
    assert has_torch(psutil.Process()), "it is recognised"
    assert not any(with_torch), "the import takes longer than to place millions of samples"
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


def kill_one_of(name: str) -> Thread:
    """Kill the first of Ray's processes that has a name once it is there, in a thread that ends then."""

    def work() -> None:
        while not (processes := own_processes(name)):
            time.sleep(0.005)
        processes[0].kill()

    thread = Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.nightly
@pytest.mark.parametrize("victim", ["ray::place_part", "ray::HashShuf"])
def test_after_a_killed_worker_the_files_are_those_of_one_process_or_none(tmp_path: Path, victim: str) -> None:
    write_folders(tmp_path / "all", write_samples(tmp_path / "all.parquet", samples=120, owners=3))
    config, location = settings(tmp_path / "all"), str(tmp_path / "run")
    prepare_run(config, str(tmp_path / "here")).write()
    for process in own_processes("ray::IDLE"):
        process.kill()  # a new worker imports for a while, in which it is found
    killer = kill_one_of(victim)
    rows = partial(ingest.RowsOnRay, part_bytes=4000)
    try:
        prepare_run(config, location, rows=rows).write()
    except DeviceUnavailable:
        assert victim != "ray::place_part"
        assert not Path(location).exists()
        prepare_run(config, location, rows=rows).write()
    killer.join(60)
    assert not killer.is_alive()
    assert samples_of(tmp_path / "run") == samples_of(tmp_path / "here")


_DRIVER = """
import sys
from functools import partial
import ray
from raymu.config import Config
from raymu.runtime.ingest import RowsOnRay
from raymu.service.ingest import prepare_run
address, config, location = sys.argv[1:]
ray.init(address=address, log_to_driver=False, logging_level="error")
prepare_run(Config.load(config), location, rows=partial(RowsOnRay, part_bytes=4000)).write()
"""


@pytest.mark.nightly
def test_after_a_killed_driver_the_next_run_at_this_place_begins_anew(tmp_path: Path) -> None:
    write_folders(tmp_path / "all", write_samples(tmp_path / "all.parquet", samples=120, owners=3))
    config, run = settings(tmp_path / "all"), tmp_path / "run"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.tree()))
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER, address, str(tmp_path / "run.yaml"), str(run)])
    try:
        while not (run / "samples").exists():
            assert driver.poll() is None
            time.sleep(0.01)
    finally:
        driver.kill()
        driver.wait()
    with pytest.raises(RunInvalid):
        raymu.open_run(run)
    prepare_run(config, str(tmp_path / "here")).write()
    prepare_run(config, str(run)).write()
    assert samples_of(run) == samples_of(tmp_path / "here")


@pytest.mark.nightly
def test_a_run_on_an_object_store_is_placed_by_workers(
    tmp_path: Path, object_store: ObjectStoreServer, postgres: PostgresServer
) -> None:
    write_folders(tmp_path / "all", write_samples(tmp_path / "all.parquet", samples=120, owners=3))
    prepare_run(settings(tmp_path / "all"), str(tmp_path / "here")).write()
    location = object_store.uri(f"{object_store.new_bucket()}/run")
    config = settings(tmp_path / "all", journal=str(postgres.new_database()))
    prepare_run(config, location, rows=partial(ingest.RowsOnRay, part_bytes=4000)).write()
    here, there = (RunStore(place).manifest for place in (str(tmp_path / "here"), location))
    assert there.tables == here.tables
    assert there.indexes == here.indexes
