"""Runs on texts with a tokenizer: the law holds, the tokenizer's files are recorded, and texts are predicted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu import open_run, train
from raymu.cli import run_command
from raymu.config import Config
from raymu.errors import DataInvalid
from tests.support.examples import repaired_weights
from tests.support.tokenizers import save_tokenizer


def write_reviews(path: Path, *, without: tuple[str, ...] = ()) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for number in range(90):
        mood = random.choice(["good", "bad"])
        words = random.permutation(["the", "film", mood, *random.choice(["very", "cat", "dog"], random.integers(0, 4))])
        rows.append({"id": f"review-{number}", "text": " ".join(words), "label": mood})
    pq.write_table(pa.Table.from_pylist([row for row in rows if row["id"] not in without]), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer, reviews and a run that was trained on them."""
    folder = tmp_path_factory.mktemp("texts")
    save_tokenizer(folder / "tokenizer")
    write_reviews(folder / "all.parquet")
    (folder / "reviews.yaml").write_text(
        "data: {train: all.parquet, features: text}\n"
        "task: {name: text, tokenizer: tokenizer, max_length: 16}\n"
        'model: {factory: "tests.system.training.text_model:build"}\n'
        "training: {epochs: 6, batch_size: 8, optimizer: adam, learning_rate: 0.05, device: cpu}\n"
        "partition: {shards: 2, slices: 2}\n"
        "unlearning: {boundary: 0.0}\n"
        "cluster: {fleet: local}\n"
    )
    train(Config.load(folder / "reviews.yaml"), folder / "run").close()
    return folder


def test_a_run_on_texts_forgets_and_keeps_the_law(folder: Path, tmp_path: Path) -> None:
    config = Config.load(folder / "reviews.yaml")
    gone = ("review-3", "review-41", "review-77")
    with train(config, tmp_path / "run") as run:
        assert run.revoke(gone, strategy="dpus").exactness == "approximate"
        run.settle()
        assert run.verify(replay=[0, 1]).verdict == "pass"
    fewer = replace(
        config, data=replace(config.data, train=str(write_reviews(tmp_path / "fewer.parquet", without=gone)))
    )
    train(fewer, tmp_path / "scratch").close()
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "scratch")


def test_texts_are_predicted_by_the_name_of_their_class(folder: Path, tmp_path: Path) -> None:
    run = str(folder / "run")
    out = tmp_path / "out.csv"
    assert run_command(["predict", run, "--data", str(folder / "all.parquet"), "--out", str(out)])[0] == 0
    lines = out.read_text().replace('"', "").splitlines()
    assert lines[0] == "id,label,certain,probability_bad,probability_good"
    truth = pq.read_table(folder / "all.parquet")["label"].to_pylist()
    right = sum(line.split(",")[1] == label for line, label in zip(lines[1:], truth, strict=True))
    assert right > 80
    pq.write_table(pa.table({"text": pa.array(["good", None])}), tmp_path / "gap.parquet")
    assert run_command(["predict", run, "--data", str(tmp_path / "gap.parquet"), "--out", str(out)])[0] == 2


def test_a_run_records_the_files_of_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    config = Config.load(folder / "reviews.yaml")
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    task = replace(config.task, args={**config.task.args, "tokenizer": str(tokenizer)})
    with train(replace(config, task=task), tmp_path / "run") as run:
        code = run.manifest.code
        assert code is not None
        assert str(tokenizer / "tokenizer.json") in code.files
        assert "transformers" in code.distributions


def test_a_text_that_is_missing_is_refused_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    config = Config.load(folder / "reviews.yaml")
    table = pq.read_table(folder / "all.parquet")
    texts = pa.array([None, *table["text"].to_pylist()[1:]])
    pq.write_table(table.set_column(1, "text", texts), tmp_path / "gap.parquet")
    with pytest.raises(DataInvalid, match="column text lacks 1 value"):
        train(replace(config, data=replace(config.data, train=str(tmp_path / "gap.parquet"))), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert open_run(folder / "run").manifest.class_names == ("bad", "good")
