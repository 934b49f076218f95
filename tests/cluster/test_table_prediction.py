"""A table that is predicted by actors of Ray has the bits of one process, of one generation."""

import asyncio
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.exceptions import RayActorError

import raymu
from raymu.config import Config
from raymu.errors import DataInvalid, DeviceUnavailable
from raymu.runtime import table_prediction
from raymu.runtime.table_prediction import SpanPredictor
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from tests.support.coordinated_run import ids_at
from tests.support.examples import train_run, write_samples
from tests.support.ray_runs import config_on_ray

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROWS = 4500


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pa.Table:
    """A table of five spans, in the working directory. In the process that asks: actors have their own."""
    monkeypatch.setattr("raymu.data.predictions._MOST_ROWS", 1024)
    monkeypatch.chdir(tmp_path)
    write_samples(tmp_path / "all.parquet")
    return write_samples(tmp_path / "many.parquet", samples=ROWS)


@pytest.fixture
def config(many: pa.Table, tmp_path: Path) -> Config:
    assert len(many) == ROWS
    return config_on_ray(tmp_path / "all.parquet", shards=2)


@pytest.fixture
def coordinator(config: Config, tmp_path: Path) -> Coordinator:
    """Of a run, trained in this process, whose settings say Ray."""
    return train_run(config, tmp_path / "run")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have one actor's work done here. Returns how many pieces each pool does before its actor is lost; -1 for all."""
    lost_after: list[int] = []

    def one_by_one(
        pieces: Sequence[dict[str, int]], _actor: type, arguments: Sequence[Any], *_: Any, **__: Any
    ) -> Generator[dict[str, Any]]:
        actor, most = SpanPredictor(*arguments), lost_after.pop(0) if lost_after else -1
        for number, piece in enumerate(pieces):
            if number == most:
                raise RayActorError
            answer = actor({name: np.array([value]) for name, value in piece.items()})
            yield {name: values[0] for name, values in answer.items()}

    monkeypatch.setattr(table_prediction, "map_in_order", one_by_one)
    return lost_after


def predictions(path: Path) -> np.ndarray:
    table = pq.read_table(path)
    return np.stack([table[f"probability_{number}"].to_numpy() for number in range(3)], axis=1)


@pytest.mark.usefixtures("coordinator")
def test_actors_predict_the_bits_of_one_process(
    many: pa.Table, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done: list[int] = []
    with raymu.open_run("run") as run:
        run.predict_file("many.parquet", "out.parquet", progress=lambda rows, _: done.append(rows))
        whole = run.predict(many)
    assert done == [1024, 2048, 3072, 4096, ROWS]
    np.testing.assert_array_equal(predictions(tmp_path / "out.parquet"), whole)
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == many["id"].to_pylist()
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("in_this_process")
def test_a_request_meanwhile_is_in_all_predictions(
    many: pa.Table, config: Config, coordinator: Coordinator, tmp_path: Path
) -> None:
    done: list[int] = []

    def accept_once(rows: int, _total: int) -> None:
        done.append(rows)
        if done == [1024]:
            sample = ids_at(config, shard=0, slice_index=1)[0]
            asyncio.run(coordinator.accept([Revocation(ids=(sample,))]))

    with raymu.open_run("run") as run:
        before = run.predict(many)
        run.predict_file("many.parquet", "out.parquet", progress=accept_once)
        after = run.predict(many)
    assert done == [1024, 1024, 2048, 3072, 4096, ROWS]
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(predictions(tmp_path / "out.parquet"), after)


@pytest.mark.usefixtures("coordinator")
def test_after_a_lost_actor_the_rows_that_are_left_are_predicted(
    many: pa.Table, tmp_path: Path, in_this_process: list[int]
) -> None:
    in_this_process += [2, 1]
    done: list[int] = []
    with raymu.open_run("run") as run:
        run.predict_file("many.parquet", "out.parquet", progress=lambda rows, _: done.append(rows))
        assert done == [1024, 2048, 3072, 4096, ROWS]
        np.testing.assert_array_equal(predictions(tmp_path / "out.parquet"), run.predict(many))
        in_this_process += [0, 0, 0]
        with pytest.raises(DeviceUnavailable, match="lost what predicts 3 times"):
            run.predict_file("many.parquet", "other.parquet")
    assert not (tmp_path / "other.parquet").exists()


@pytest.mark.usefixtures("coordinator", "in_this_process")
def test_a_row_that_an_actor_refuses_is_named(many: pa.Table, tmp_path: Path) -> None:
    values = many["features"].combine_chunks().flatten().to_numpy().reshape(-1, 6).copy()
    values[3000] = np.nan
    pq.write_table(many.set_column(2, "features", pa.array(list(values))), tmp_path / "many.parquet")
    with raymu.open_run("run") as run, pytest.raises(DataInvalid, match="the first is row 3,001"):
        run.predict_file("many.parquet", "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.usefixtures("coordinator", "in_this_process")
def test_a_table_that_no_other_node_has_is_predicted_here(
    many: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise DataInvalid("many.parquet", "cannot be read")

    monkeypatch.setattr(table_prediction, "rows_to_predict", absent)
    with raymu.open_run("run") as run:
        run.predict_file("many.parquet", "out.parquet")
        np.testing.assert_array_equal(predictions(tmp_path / "out.parquet"), run.predict(many))


@pytest.mark.usefixtures("coordinator")
def test_what_actors_return_is_sealed(many: pa.Table, tmp_path: Path) -> None:
    with raymu.open_run("run") as run:
        arguments = (str(tmp_path / "run"), run.trust, str(tmp_path / "many.parquet"), b"of another run")
    answer = SpanPredictor(*arguments)({"start": np.array([0]), "stop": np.array([1024])})
    [sealed] = answer["sealed"]
    assert answer["problem"].tolist() == [""]
    assert b"changed on its way" not in sealed  # the error, in clear
    assert str(many["id"][0]).encode() not in sealed
