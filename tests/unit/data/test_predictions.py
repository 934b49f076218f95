"""The file that predictions are written to."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from raymu.config import TargetName
from raymu.data.classes import ClassTable
from raymu.data.predictions import require_format, write_predictions
from raymu.data.values import LabelValue
from raymu.errors import RequestInvalid
from tests.support.examples import file_size_limit

NUMBERS = ClassTable(count=2)
PROBABILITIES = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], dtype=np.float32)


def write(
    path: Path,
    *,
    samples: int = 3,
    labels_only: bool = False,
    id_name: str = "id",
    classes: ClassTable = NUMBERS,
) -> None:
    probabilities = np.resize(PROBABILITIES, (samples, 2))
    ids = np.arange(samples)
    write_predictions(str(path), probabilities, classes=classes, ids=ids, id_name=id_name, labels_only=labels_only)


def test_several_labels_are_lists_and_numbers_have_their_columns(tmp_path: Path) -> None:
    predictions = np.array([[0.9, 0.6], [0.1, 0.2]], dtype=np.float32)
    classes = ClassTable(count=2, names=("red", "blue"))
    for target in (TargetName.LABELS, TargetName.REGRESSION):
        for name in ("out.parquet", "out.csv"):
            write_predictions(
                str(tmp_path / f"{target}-{name}"),
                predictions,
                classes=classes,
                target=target,
                ids=None,
                id_name="id",
                labels_only=target is TargetName.LABELS,
            )
    assert pq.read_table(tmp_path / "labels-out.parquet").to_pydict() == {"labels": [["red", "blue"], []]}
    assert pyarrow.csv.read_csv(tmp_path / "labels-out.csv").to_pydict() == {"labels": ["red blue", ""]}
    numbers = pq.read_table(tmp_path / "regression-out.parquet")
    assert numbers.column_names == ["red", "blue"]
    assert numbers["red"].to_pylist() == pytest.approx([0.9, 0.1])


def test_a_table_of_predictions_has_ids_classes_and_probabilities(tmp_path: Path) -> None:
    write(tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {
        "id": [0, 1, 2],
        "label": [1, 0, 0],
        "probability_0": [0.25, 0.5, 1.0],
        "probability_1": [0.75, 0.5, 0.0],
    }
    write(tmp_path / "out.csv", labels_only=True)
    assert pyarrow.csv.read_csv(tmp_path / "out.csv").to_pydict() == {"id": [0, 1, 2], "label": [1, 0, 0]}


@pytest.mark.parametrize("names", [("dog", "fox"), (False, True), (-1, 1)])
def test_predictions_name_the_classes(tmp_path: Path, names: tuple[LabelValue, LabelValue]) -> None:
    write(tmp_path / "out.parquet", classes=ClassTable(count=2, names=names))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["label"].to_pylist() == [names[1], names[0], names[0]]
    assert table.column_names[2:] == [f"probability_{name}" for name in names]


def test_ids_are_kept_under_any_column_name(tmp_path: Path) -> None:
    write(tmp_path / "out.csv", labels_only=True, id_name="label")
    assert (tmp_path / "out.csv").read_text().splitlines() == ['"label","label"', "0,1", "1,0", "2,0"]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("is_there", [True, False])
def test_an_earlier_file_stays_if_the_disk_is_full(tmp_path: Path, name: str, is_there: bool) -> None:
    if is_there:
        (tmp_path / name).write_text("precious")
    with file_size_limit(500), pytest.raises(RequestInvalid, match=f"{name}: cannot be written .*name another place"):
        write(tmp_path / name, samples=1000)
    assert [path.read_text() for path in tmp_path.iterdir()] == (["precious"] if is_there else [])


@pytest.mark.parametrize("name", ["out.xls", "out", ""])
def test_a_format_that_predictions_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(RequestInvalid, match=r"no known format; name a \.parquet or a \.csv file"):
        require_format(name)
