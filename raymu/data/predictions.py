"""Writing predictions to a file."""

from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from raymu.core.arrays import Probabilities
from raymu.data.classes import ClassTable
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
    probabilities: Probabilities,
    *,
    classes: ClassTable,
    ids: npt.NDArray[Any] | None,
    id_name: str,
    labels_only: bool,
) -> None:
    """Write a CSV or Parquet file whole, or leave the existing file unchanged.

    Args:
        path: Its ending says which format.
        probabilities: (samples, classes).
        classes: The classes of the run, whose labels are written.
        ids: (samples,), of the samples; None writes no ids.
        id_name: Name of the column of ids.
        labels_only: Whether probabilities are left out.

    Raises:
        RequestInvalid: The file cannot be written.
    """
    columns = [] if ids is None else [(id_name, pa.array(ids))]
    labels = [classes.label(number) for number in range(probabilities.shape[1])]
    columns.append(("label", pa.array(labels).take(pa.array(probabilities.argmax(axis=1)))))
    if not labels_only:
        columns += [
            (f"probability_{label}", pa.array(column)) for label, column in zip(labels, probabilities.T, strict=True)
        ]
    table = pa.Table.from_arrays([column for _, column in columns], names=[name for name, _ in columns])
    try:
        with atomic_write(path) as partial:
            _WRITERS[Path(path).suffix](table, partial)
    except OSError as error:
        raise RequestInvalid(f"{path}: cannot be written ({one_line(error)}); name another place") from error
