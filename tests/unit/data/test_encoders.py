"""Encoders of columns: widths that no rows change, missing and unseen values, and what they are fitted to."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymu.config.data import Normalization, NormalizeSetting
from raymu.config.tabular import TabularSettings
from raymu.data.encoders import (
    CategoryEncoder,
    EncodedRows,
    Encoders,
    NumberEncoder,
    encode,
    fit_encoders,
    from_json,
    refit_encoders,
    to_json,
)
from raymu.errors import DataInvalid

KINDS = {"age": "number", "city": "category"}
ROWS = pa.table({"age": [20.0, 40.0, None, 60.0], "city": ["b", "a", "b", None]})


def settings(**task: Any) -> TabularSettings:
    return TabularSettings.parse(task)


def fitted(table: pa.Table = ROWS, normalize: NormalizeSetting = "shard", **task: Any) -> Encoders:
    return fit_encoders(table, {name: KINDS[name] for name in table.column_names}, settings(**task), normalize)


def encoded(table: pa.Table, encoders: Encoders) -> EncodedRows:
    return encode(table, KINDS, encoders)


def test_numbers_are_standardised_as_by_numpy_and_missing_ones_are_the_mean_with_a_mark() -> None:
    rows = encoded(ROWS, fitted(categories=4))
    ages = np.array([20.0, 40.0, 60.0])
    expected = (ages - ages.mean()) / ages.std()
    np.testing.assert_allclose(rows.numbers[[0, 1, 3], 0], expected, rtol=1e-6)
    assert rows.numbers[2, 0] == 0.0
    assert rows.numbers[:, 1].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_categories_have_places_by_frequency_and_ties_by_text() -> None:
    table = pa.table({"city": ["c", "c", "b", "a", "d"]})
    [encoder] = fitted(table, categories=5).values()
    assert encoder == CategoryEncoder(values=("c", "a", "b"), width=5)
    unseen = pa.table({"city": ["a", "d", "never", None, " c ", ""]})
    assert encode(unseen, KINDS, {"city": encoder}).categories[:, 0].tolist() == [3, 1, 1, 0, 2, 0]


def test_a_width_does_not_depend_on_the_rows() -> None:
    other = pa.table({"age": pa.array([None], pa.float64()), "city": pa.array([None], pa.string())})
    for table in (ROWS, ROWS.slice(0, 1), other):
        encoders = fitted(table, categories=6)
        assert [encoder.width for encoder in encoders.values()] == [2, 6]
        assert encoded(ROWS, encoders).numbers.shape == (4, 2)


def test_what_the_settings_say_wins_over_the_rows() -> None:
    task: dict[str, Any] = {"columns": {"age": {"mean": 40, "std": 10}, "city": {"values": ["a", "z"]}}}
    for table in (ROWS, ROWS.slice(0, 1)):
        rows = encoded(ROWS, fitted(table, **task))
        assert rows.numbers[:, 0].tolist() == [-2.0, 0.0, 0.0, 2.0]
        assert rows.categories[:, 0].tolist() == [1, 2, 1, 0]


@pytest.mark.parametrize(
    ("normalize", "expected"), [("none", [20.0, 40.0, 40.0, 60.0]), (Normalization(mean=20, std=20), [0, 1, 0, 2])]
)
def test_numbers_are_left_or_standardised_as_data_normalize_says(normalize: Any, expected: list[float]) -> None:
    assert encoded(ROWS, fitted(normalize=normalize)).numbers[:, 0].tolist() == expected


def test_infinite_numbers_are_missing_and_far_ones_are_clipped() -> None:
    encoders = fitted(pa.table({"age": [0.0, 1.0, 2.0]}))
    rows = encode(pa.table({"age": [float("inf"), 1e300, -1e300]}), KINDS, encoders)
    assert rows.numbers.tolist() == [[0.0, 1.0], [8.0, 0.0], [-8.0, 0.0]]


def test_integers_of_a_small_spread_beside_a_large_offset_keep_it() -> None:
    seconds = pa.table({"age": np.arange(1_700_000_000, 1_700_000_004)})
    numbers = encode(seconds, KINDS, fitted(seconds)).numbers[:, 0]
    assert len(set(numbers.tolist())) == 4


def test_a_date_has_its_place_in_cycles_and_none_if_it_is_missing() -> None:
    kinds = {"since": "date"}
    dates = pa.table({"since": pa.array(np.array(["1970-01-01T00:00", "1970-01-01T06:00", "NaT"], "datetime64[ms]"))})
    encoders = fit_encoders(dates, kinds, settings(columns={"since": {"cycles": ["day"]}}), "shard")
    rows = encode(dates, kinds, encoders)
    np.testing.assert_allclose(rows.numbers[:, 2:], [[0, 1], [1, 0], [0, 0]], atol=1e-6)


def test_lists_are_standardised_number_by_number() -> None:
    kinds = {"at": "number[2]"}
    table = pa.table({"at": pa.array([[1.0, 10.0], [3.0, 30.0], None], pa.list_(pa.float64()))})
    rows = encode(table, kinds, fit_encoders(table, kinds, settings(), "shard"))
    assert rows.numbers.tolist() == [[-1, -1, 0], [1, 1, 0], [0, 0, 1]]


def test_a_patch_keeps_the_places_of_values_and_forgets_those_that_are_gone() -> None:
    before = fitted(pa.table({"city": ["a", "a", "b", "b", "c"]}), categories=6)
    left = pa.table({"city": ["b", "c"]})
    after = refit_encoders(left, {"city": "category"}, settings(categories=6), "shard", before)
    assert after["city"] == CategoryEncoder(values=(None, "b", "c"), width=6)
    assert encode(pa.table({"city": ["a", "b", "c"]}), KINDS, after).categories[:, 0].tolist() == [1, 3, 4]
    assert b'"a"' not in to_json(after)


def test_checkpoints_keep_every_bit() -> None:
    encoders = fitted(pa.table({"age": [0.1, 0.2, 1 / 3], "city": ["ü", '"', None]}))
    assert from_json(to_json(encoders)) == encoders
    assert isinstance(encoders["age"], NumberEncoder)


def test_a_column_of_another_kind_is_named() -> None:
    with pytest.raises(DataInvalid, match=r"the table: column age is a number, .*: some values are not; mend"):
        encode(pa.table({"age": ["abc"], "city": ["a"]}), KINDS, fitted())


def test_scikit_learn_agrees() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    random = np.random.default_rng(0)
    table = pa.table({"age": random.normal(5, 3, 50), "city": random.choice(list("abcd"), 50)})
    rows = encoded(table, fitted(table, missing="refuse", categories=6))
    scaled = preprocessing.StandardScaler().fit_transform(table["age"].to_numpy()[:, None])
    np.testing.assert_allclose(rows.numbers, scaled, rtol=1e-5, atol=1e-6)
    order = [value for value in fitted(table, categories=6)["city"].values if value]  # type: ignore[union-attr]
    one_hot = preprocessing.OneHotEncoder(categories=[order], sparse_output=False)
    spread = (rows.categories == np.arange(6)).astype(float)[:, 2:]
    np.testing.assert_array_equal(spread, one_hot.fit_transform(np.array(table["city"].to_pylist())[:, None]))
