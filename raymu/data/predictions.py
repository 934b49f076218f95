"""Writing predictions to a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from raymu.config import TargetName
from raymu.core.arrays import Probabilities
from raymu.data.classes import ClassTable
from raymu.data.values import LabelValue
from raymu.errors import RequestInvalid
from raymu.output_file import atomic_write
from raymu.text import one_line

_WRITERS = {".parquet": pq.write_table, ".csv": pa.csv.write_csv}


def require_format(path: str) -> None:
    """Raise RequestInvalid if predictions cannot be written in the format of a path's ending."""
    if Path(path).suffix not in _WRITERS:
        raise RequestInvalid(f"{path}: is of no known format; name a .parquet or a .csv file")


def write_predictions(
    path: str,
    predictions: Probabilities,
    *,
    classes: ClassTable,
    target: TargetName = TargetName.CLASSES,
    ids: npt.NDArray[Any] | None,
    id_name: str,
    labels_only: bool,
) -> None:
    """Write a CSV or Parquet file whole, or leave the existing file unchanged.

    Args:
        path: Its ending says which format.
        predictions: (samples, outputs): probabilities of classes or labels, or numbers.
        classes: The classes, labels or columns of numbers of the run, which are named.
        target: What the run predicts. Of several labels, a sample gets the list of those with a probability above 1/2; in
            CSV, they are separated by spaces.
        ids: (samples,), of the samples; None writes no ids.
        id_name: Name of the column of ids.
        labels_only: Whether probabilities are left out.

    Raises:
        RequestInvalid: The file cannot be written.
    """
    columns = [] if ids is None else [(id_name, pa.array(ids))]
    labels = [classes.label(number) for number in range(predictions.shape[1])]
    by_label = [(label, pa.array(column)) for label, column in zip(labels, predictions.T, strict=True)]
    match target:
        case TargetName.CLASSES:
            columns.append(("label", pa.array(labels).take(pa.array(predictions.argmax(axis=1)))))
        case TargetName.LABELS:
            columns.append(("labels", _labels(predictions, labels, is_text=path.endswith(".csv"))))
        case TargetName.REGRESSION:
            columns += [(str(label) if classes.names else f"value_{label}", values) for label, values in by_label]
    if not labels_only and target is not TargetName.REGRESSION:
        columns += [(f"probability_{label}", values) for label, values in by_label]
    table = pa.Table.from_arrays([column for _, column in columns], names=[name for name, _ in columns])
    try:
        with atomic_write(path) as partial:
            _WRITERS[Path(path).suffix](table, partial)
    except OSError as error:
        raise RequestInvalid(f"{path}: cannot be written ({one_line(error)}); name another place") from error


def _labels(predictions: Probabilities, labels: Sequence[LabelValue], *, is_text: bool) -> pa.Array:
    """Return the labels of each sample, whose probability is above 1/2."""
    members = [[labels[number] for number in (row > 0.5).nonzero()[0]] for row in predictions]
    if is_text:
        return pa.array([" ".join(str(label) for label in row) for row in members], type=pa.string())
    return pa.array(members, type=pa.list_(pa.array(labels).type))
