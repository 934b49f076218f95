"""Trainings that do not finish, and the rest of the Python API."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sql

import raymu
from raymu.core.verdict import Verdict
from raymu.errors import ConfigInvalid, RunInvalid, StorageFailed, TrainingFailed, UnknownSamples, WorkerLost
from raymu.service.coordinator.calls import Train
from raymu.service.coordinator.client import LocalClient
from raymu.service.shard.messages import Progress, StageProgress
from raymu.store.journal.file_seal import sealed_position
from raymu.store.journal.tables import TABLES
from raymu.store.run import RunStore
from tests.support.examples import create_run, file_size_limit, make_config, repaired_weights, write_samples
from tests.support.postgres_server import PostgresServer


@pytest.mark.parametrize("is_there", [True, False])
def test_a_refused_training_leaves_the_location_unchanged(tmp_path: Path, is_there: bool) -> None:
    write_samples(tmp_path / "all.parquet")
    if is_there:
        (tmp_path / "runs" / "one").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    config = make_config(tmp_path / "all.parquet", training={"learning_rate": 1e25})
    with pytest.raises(TrainingFailed, match=r"lower training\.learning_rate"):
        raymu.train(config, tmp_path / "runs" / "one")
    assert sorted(tmp_path.rglob("*")) == before
    raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "runs" / "one").close()


def test_a_training_that_lost_its_workers_is_finished_by_settling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_client: LocalClient, _call: Train, _progress: Progress) -> None:
        raise WorkerLost(0, 4, "out of memory")

    write_samples(tmp_path / "all.parquet")
    with monkeypatch.context() as patched:
        patched.setattr(LocalClient, "call", lose)
        with pytest.raises(WorkerLost):
            raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    with raymu.open_run(tmp_path / "run") as run:
        with pytest.raises(RunInvalid, match="run `raymu settle`"):
            run.status()
        run.settle()
        assert {shard.state for shard in run.status().shards} == {"exact"}


def test_a_training_whose_disk_is_full_is_finished_by_settling(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=80)
    config = make_config(tmp_path / "all.parquet", model={"name": "mlp", "hidden": [8192]})
    with file_size_limit(150_000), pytest.raises(StorageFailed, match=r"shards/0000/.* the storage failed"):
        raymu.train(config, tmp_path / "run")
    with pytest.raises(RunInvalid, match="`raymu settle` finishes an interrupted one"):
        raymu.train(config, tmp_path / "run")
    with raymu.open_run(tmp_path / "run") as run:
        run.settle()
    create_run(config, tmp_path / "calm")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_a_training_that_is_interrupted_is_closed_and_finished_by_settling(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    def interrupt(_stage: StageProgress) -> None:
        raise kind

    write_samples(tmp_path / "all.parquet")
    with pytest.raises(kind):
        raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run", progress=interrupt)
    store = RunStore(str(tmp_path / "run"))
    assert sealed_position(store.files, store.keys) == (1, 0)
    with raymu.open_run(tmp_path / "run") as run:
        run.settle()
        assert {shard.state for shard in run.status().shards} == {"exact"}


def test_a_refused_training_leaves_no_rows_in_a_shared_database(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    write_samples(tmp_path / "all.parquet")
    cluster = {"journal": str(url)}
    raymu.train(make_config(tmp_path / "all.parquet", cluster=cluster), tmp_path / "other").close()
    before = rows(url)
    config = make_config(tmp_path / "all.parquet", training={"learning_rate": 1e25}, cluster=cluster)
    with pytest.raises(TrainingFailed):
        raymu.train(config, tmp_path / "run")
    assert rows(url) == before


def rows(url: sql.URL) -> dict[str, int]:
    """Return the number of rows by table."""
    engine = sql.create_engine(url)
    with engine.connect() as connection:
        count = {
            table.name: connection.execute(sql.select(sql.func.count()).select_from(table)).scalar_one()
            for table in TABLES.sorted_tables
        }
    engine.dispose()
    return count


def test_a_run_without_a_cluster_works_inside_a_running_loop_too(tmp_path: Path) -> None:
    """A notebook has such a loop."""
    ids = write_samples(tmp_path / "all.parquet")["id"].to_pylist()

    async def work() -> None:
        with raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run") as run:
            with pytest.raises(UnknownSamples):
                run.revoke([1])
            run.revoke(ids[:3], strategy="dpus")
            run.settle()
            assert {shard.state for shard in run.status().shards} == {"exact"}

    asyncio.run(work())
    create_run(make_config(tmp_path / "all.parquet"), tmp_path / "calm", exclude=ids[:3])
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


def test_a_setting_that_is_changed_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    unlearning = {"boundary": 0.7, "ohs": {"slices": 2, "epochs": 5}}
    with raymu.train(make_config(tmp_path / "all.parquet", unlearning=unlearning), tmp_path / "run") as run:
        run.configure(strategy="ohs", ohs={"epochs": 1})
        expected = {"strategy": "ohs", "boundary": 0.7, "ohs": {"slices": 2, "epochs": 1}}
        assert run.config.unlearning == make_config(tmp_path / "all.parquet", unlearning=expected).unlearning
        with pytest.raises(ConfigInvalid, match=r"unlearning\.ohs"):
            run.configure(ohs=3)


@pytest.mark.parametrize("name", ["run#1", "run?", "100%20", "50% of %23 ?mode=rw"])
def test_a_run_whose_name_means_something_in_a_uri_is_read_like_any_other(tmp_path: Path, name: str) -> None:
    write_samples(tmp_path / "all.parquet")
    raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / name).close()
    run = raymu.open_run(tmp_path / name)
    assert run.status().generation == 1
    assert run.evaluate_file(str(tmp_path / "all.parquet")).samples == 240
    assert run.verify().verdict is Verdict.PASS
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["all.parquet", name])


def test_names_of_version_0_1_still_work_and_say_what_replaces_them(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r"raymu\.SubmissionResult"):
        assert raymu.Answer is raymu.SubmissionResult
    ids = write_samples(tmp_path / "all.parquet", samples=60)["id"].to_pylist()
    with raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run") as run:
        with pytest.warns(DeprecationWarning, match=r"Run\.revoke_many"):
            [result] = run.submit([raymu.Revocation(ids=(ids[0],), strategy="dpus")])
        assert result.refusal is None


def test_every_public_name_exists() -> None:
    assert all(getattr(raymu, name).__name__ == name for name in raymu.__all__)
