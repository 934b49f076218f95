"""Predictions as a file."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from raymu.errors import RequestInvalid, in_one_line

_WRITERS = {".parquet": pq.write_table, ".csv": pa.csv.write_csv}


def require_place(path: str, *, data: str) -> None:
    """Raises RequestInvalid where predictions of `data` cannot, or must not, be written to `path`."""
    place = Path(path)
    if place.suffix not in _WRITERS:
        raise RequestInvalid(f"{path}: is of no known format; name a .parquet or a .csv file")
    if not place.parent.is_dir():
        raise RequestInvalid(
            f"{path}: cannot be written, since {place.parent} is no directory; make it, or name another"
        )
    if place.exists() and not place.is_file():
        raise RequestInvalid(f"{path}: is there already, and is no file; name another")
    if place.exists() and Path(data).exists() and place.samefile(data):
        raise RequestInvalid(f"{path}: is the table to predict, and would be lost; name another file")


def write_predictions(
    path: str, probabilities: npt.NDArray[np.float32], *, ids: npt.NDArray[Any] | None, id_name: str, labels_only: bool
) -> None:
    """Write the file whole, or leave what was there. probabilities: (samples, classes). Raises RequestInvalid."""
    columns = [] if ids is None else [(id_name, ids)]
    columns.append(("label", probabilities.argmax(axis=1)))
    if not labels_only:
        columns += [(f"probability_{number}", column) for number, column in enumerate(probabilities.T)]
    table = pa.Table.from_arrays([pa.array(column) for _, column in columns], names=[name for name, _ in columns])
    place = Path(path).resolve()
    partial = place.with_name(f".{place.name}.partial")
    try:
        _WRITERS[place.suffix](table, partial)
        partial.replace(place)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise RequestInvalid(f"{path}: cannot be written ({in_one_line(error)}); name another place") from error
