"""Runs on pictures that are augmented: the law, whatever threads load them, and pictures that cannot be decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu import open_run, train
from raymu.config import Config, ValidationConfig
from raymu.data.rows import Columns
from raymu.errors import DataInvalid
from tests.support.examples import repaired_weights
from tests.support.pictures import write_pictures

GONE = [3, 40, 77]
AUGMENT: list[Any] = [
    "RandomHorizontalFlip",
    {"name": "RandomCrop", "size": 12, "padding": 1},
    {"name": "ColorJitter", "brightness": 0.2},
]


def make_picture_config(data: Path, *, workers: int = 1, loading_threads: int = 2) -> Config:
    return Config.parse(
        {
            "data": {"train": str(data), "features": "picture", "label": "kind"},
            "task": {"name": "image", "size": 12, "augment": AUGMENT},
            "model": {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.2},
            "training": {"epochs": 6, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.01, "device": "cpu"},
            "partition": {"shards": 2, "slices": 2},
            "unlearning": {"boundary": 0.0},
            "cluster": {"fleet": "local", "workers_per_shard": workers, "loading_threads": loading_threads},
        }
    )


@pytest.mark.parametrize(("workers", "loading_threads"), [(1, 2), (2, 1)])
def test_a_run_on_augmented_pictures_keeps_the_law(workers: int, loading_threads: int, tmp_path: Path) -> None:
    everything = write_pictures(tmp_path / "all.parquet")
    config = make_picture_config(everything, workers=workers, loading_threads=loading_threads)
    with train(config, tmp_path / "run") as run:
        assert [part.remedy for part in run.revoke(GONE, strategy="dpus").shards] == ["patch", "patch"]
        run.settle()
        verification = run.verify(replay=[0, 1])
        assert verification.verdict == "pass", verification
    fewer = write_pictures(tmp_path / "fewer.parquet", without=GONE)
    between_steps = replace(config.cluster, loading_threads=0)
    scratch = replace(config, data=replace(config.data, train=str(fewer)), cluster=between_steps)
    train(scratch, tmp_path / "scratch").close()
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "scratch")


def test_a_table_of_pictures_is_predicted_and_evaluated(tmp_path: Path) -> None:
    everything = write_pictures(tmp_path / "all.parquet")
    train(make_picture_config(everything), tmp_path / "run").close()
    run = open_run(tmp_path / "run")
    assert run.manifest.input_shape == (3, 12, 12)
    assert run.manifest.code is not None
    assert set(run.manifest.code.distributions) == {"pillow", "torchvision"}
    assert run.evaluate_file(str(everything)).accuracy > 0.7
    table = pq.read_table(everything, columns=["picture"])
    predicted = run.predict(Columns.of(table))
    assert predicted.shape == (120, 2)
    few = run.predict(Columns.of(table.slice(50, 3)))  # alone as among others
    assert np.allclose(few, predicted[50:53], atol=1e-5)
    with pytest.raises(DataInvalid, match=r"1 of 2 pictures in column picture cannot be decoded"):
        run.predict(Columns.of(pa.table({"picture": [b"no picture", *table["picture"].to_pylist()[:1]]})))


def test_pictures_that_cannot_be_decoded_are_one_line_before_anything_is_trained(tmp_path: Path) -> None:
    table = pq.read_table(write_pictures(tmp_path / "all.parquet"))
    files = table["picture"].to_pylist()
    files[5], files[9] = files[5][:-40], b"no picture"
    pq.write_table(table.set_column(1, "picture", pa.array(files)), tmp_path / "broken.parquet")
    with pytest.raises(
        DataInvalid, match=r"2 of 120 pictures in column picture cannot be decoded \(.*\); mend or drop"
    ):
        train(make_picture_config(tmp_path / "broken.parquet"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_later_pictures_that_cannot_be_decoded_are_refused_before_anything_changes(tmp_path: Path) -> None:
    everything = write_pictures(tmp_path / "all.parquet")
    config = make_picture_config(everything)
    table = pq.read_table(everything).slice(0, 8)
    ids = pa.array(np.arange(9000, 9008)).cast(table["id"].type)
    damaged = table.set_column(0, "id", ids).set_column(
        table.column_names.index("picture"), "picture", [[b"no picture", *table["picture"].to_pylist()[1:]]]
    )
    pq.write_table(damaged, tmp_path / "held-out.parquet")
    validation = ValidationConfig(data=str(tmp_path / "held-out.parquet"))
    with pytest.raises(DataInvalid, match=r"validation\.data: 1 of 8 pictures in column picture cannot be decoded"):
        train(replace(config, validation=validation), tmp_path / "validated")
    with train(config, tmp_path / "run") as run:
        with pytest.raises(DataInvalid, match="1 of 8 pictures in column picture cannot be decoded"):
            run.extend(damaged)
        assert run.status().slices == 2
