"""Settings of the task `tabular`, and those that do not fit it."""

from typing import Any

import pytest

from raymu.config import Config
from raymu.config.data import ALL_COLUMNS
from raymu.errors import ConfigInvalid

LEAST: dict[str, Any] = {"data": {"train": "a.parquet"}, "model": {"name": "mlp"}, "task": {"name": "tabular"}}


@pytest.mark.parametrize("task", ["tabular", {"name": "tabular"}])
def test_all_columns_are_features_unless_some_are_named(task: Any) -> None:
    assert Config.parse(LEAST | {"task": task}).data.features == ALL_COLUMNS
    named = LEAST | {"task": task, "data": {"train": "a", "features": ["age"]}}
    assert Config.parse(Config.parse(named).tree()).data.features == ("age",)
    assert Config.parse({"data": {"train": "a"}, "model": "mlp"}).data.features == "features"


def test_values_of_categories_are_text() -> None:
    task = {"name": "tabular", "columns": {"branch": {"values": [1, True, "x"]}}}
    settings = Config.parse(LEAST | {"task": task}).task.tabular
    assert settings is not None
    assert settings.columns["branch"].values == ("1", "true", "x")


@pytest.mark.parametrize(
    ("branches", "problem"),
    [
        ({"task": {"name": "tabular", "categories": 2}}, "task: categories: must be at least 3"),
        ({"task": {"name": "tabular", "kategories": 9}}, "did you mean categories"),
        (
            {"task": {"name": "tabular", "columns": {"age": {"mean": 1}}}},
            "columns.age: mean and std are given together",
        ),
        ({"task": {"name": "tabular", "columns": {"a": {"values": ["x", "x"]}}}}, "columns.a: a value is named twice"),
        ({"task": {"name": "tabular", "columns": {"a": {"kind": "date", "values": ["x"]}}}}, "belong to a category"),
        ({"task": {"name": "tabular", "columns": {"a": {"kind": "number", "cycles": ["day"]}}}}, "belong to dates"),
        ({"task": {"name": "tabular", "form": "dict"}}, "task.form dict is for a model of your own"),
        ({"data": {"train": "a", "normalize": "unit"}}, "data.normalize unit is for pictures"),
        ({"data": {"train": "a", "features": "*"}, "task": "tensor"}, 'data.features "\\*" belongs to task tabular'),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(branches: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem) as refused:
        Config.parse(LEAST | branches)
    assert "\n" not in str(refused.value)
