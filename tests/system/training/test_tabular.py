"""Runs of tables with gaps, categories and dates: the law, tables in memory, and the example."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from examples.customers import customers
from raymu import open_run, train
from raymu.config import Config
from raymu.core.records import Exactness
from raymu.errors import DataInvalid, RequestInvalid, SamplesLost
from tests.support.examples import repaired_weights

EXAMPLE = Path(__file__).parents[3] / "examples" / "customers.yaml"
ALONE = "customer-alone"
"""The owner of the only rows of a category, in both slices of a shard."""


def with_rare_category(table: pa.Table) -> pa.Table:
    """Give one owner rows that nobody else's are like."""
    rows = table.slice(0, 6).to_pydict()
    rows |= {
        "contract": [f"A{number}" for number in range(6)],
        "customer": [ALONE] * 6,
        "city": ["Atlantis"] * 6,
        "plan": ["forgotten-plan"] * 6,
        "age": [1e6] * 6,
    }
    rare = pa.table(rows).cast(plain_schema(table))
    return pa.concat_tables([rare, table.cast(plain_schema(table))])


def plain_schema(table: pa.Table) -> pa.Schema:
    return pa.schema([(field.name, pa.string() if field.name == "plan" else field.type) for field in table.schema])


def make_tabular_config(path: Path | None, **branches: Any) -> Config:
    tree = Config.load(EXAMPLE, ["training.epochs=3"]).tree()
    tree["data"] = {**tree["data"], "train": None if path is None else str(path)}
    for name, settings in branches.items():
        tree[name] = {**tree[name], **settings} if isinstance(tree[name], dict) else settings
    return Config.parse(tree)


def written(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("policy", ["owner", "uniform"])
def test_forgetting_the_only_row_of_a_category_equals_a_file_that_never_had_it(policy: str, tmp_path: Path) -> None:
    table = with_rare_category(customers(160))
    config = make_tabular_config(written(table, tmp_path / "all.parquet"), partition={"policy": policy})
    with train(config, tmp_path / "run") as run:
        approximate = run.revoke(owner=ALONE, strategy="dpus", boundary=0)
        assert approximate.exactness is Exactness.APPROXIMATE
        assert all(part.remedy == "patch" for part in approximate.shards), [part.reason for part in approximate.shards]
        run.settle()
        assert run.verify(replay=None).verdict == "pass"
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or b"Atlantis" not in file.read_bytes(), file
    fewer = table.filter(pc.not_equal(table["customer"], ALONE))
    scratch = make_tabular_config(written(fewer, tmp_path / "fewer.parquet"), partition={"policy": policy})
    train(scratch, tmp_path / "scratch").close()
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "scratch")


def test_the_example_revokes_an_owner_settles_and_verifies(tmp_path: Path) -> None:
    table = customers()
    path = written(table, tmp_path / "customers.parquet")
    config = Config.load(EXAMPLE, [f"data.train={path}", "training.epochs=3"])
    with train(config, tmp_path / "run") as run:
        assert run.manifest.class_names == ("left", "stayed", "upgraded")
        assert run.manifest.columns == ("age", "income", "city", "plan", "paperless", "since")
        assert any(line.startswith("columns: numbers age, income;") for line in run.manifest.conversions)
        assert run.revoke(owner="customer-7", strategy="sisa").exactness is Exactness.EXACT
        run.settle()
        assert run.verify(replay=[0]).verdict == "pass"
        assert run.evaluate(table).accuracy > 0.6


def test_a_table_in_memory_trains_as_its_file_does(tmp_path: Path) -> None:
    table = customers(120)
    frame = table.to_pandas()
    config = make_tabular_config(written(table, tmp_path / "all.parquet"))
    with train(config, tmp_path / "of_file") as of_file, train(config, frame, tmp_path / "of_frame") as of_frame:
        assert of_frame.config.data.train is None
        assert repaired_weights(tmp_path / "of_file") == repaired_weights(tmp_path / "of_frame")
        expected = of_file.predict(table)
        np.testing.assert_array_equal(of_frame.predict(frame.drop(columns=["outcome", "contract"])), expected)
        assert of_frame.evaluate(frame) == of_file.evaluate_file(str(tmp_path / "all.parquet"))
        with pytest.raises(DataInvalid, match=r"the table: has no column outcome; evaluation needs labels"):
            of_frame.evaluate(frame.drop(columns=["outcome"]))
        with pytest.raises(DataInvalid, match=r"the table: column age is a number"):
            of_frame.predict(frame.assign(age="old"))


def test_lost_samples_are_restored_from_the_table_in_memory(tmp_path: Path) -> None:
    frame = customers(120).to_pandas()
    train(make_tabular_config(None), frame, tmp_path / "run").close()
    (table,) = (tmp_path / "run").glob("samples/0000-*.parquet")
    table.unlink()
    with open_run(tmp_path / "run") as run:
        with pytest.raises(SamplesLost, match="give the file"):
            run.rebuild()
        with pytest.raises((DataInvalid, SamplesLost)):
            run.rebuild(data=frame.iloc[:40])
        assert run.rebuild(data=frame).files
        assert run.verify(replay=[0]).verdict == "pass"


def test_a_run_of_a_table_in_memory_needs_no_directory_and_a_path_may_be_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_tabular_config(None)
    frame = customers(60).to_pandas()
    with train(config, frame) as run:
        assert Path(run.location).parent == tmp_path / "runs"
    written(customers(60), tmp_path / "all.parquet")
    with train(config, "all.parquet", "other") as run:
        assert run.config.data.train == str(tmp_path / "all.parquet")
    with pytest.raises(RequestInvalid, match="give run_dir"):
        train(config)


def test_a_model_may_take_numbers_and_places_of_categories(tmp_path: Path) -> None:
    table = customers(120)
    config = make_tabular_config(
        None,
        task={"args": {"categories": 8, "form": "dict"}},
        model={"name": None, "factory": "tests.support.embedding_model:build", "args": {}},
    )
    with train(config, table, tmp_path / "run") as run:
        assert {name: spec.dtype for name, spec in run.manifest.inputs.items()} == {
            "numbers": "float32",
            "categories": "int64",
        }
        assert run.revoke(owner="customer-7", strategy="sisa").exactness is Exactness.EXACT
        assert run.verify(replay=[0]).verdict == "pass"
