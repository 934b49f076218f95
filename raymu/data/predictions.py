"""Writing predictions to a file, part after part."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
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

_WRITERS = {".parquet": pq.ParquetWriter, ".csv": pa.csv.CSVWriter}
_MOST_ROWS, _PART_BYTES = 65_536, 16 * 1024 * 1024
"""Most rows of what is written at once, which is a group of rows in Parquet, and most bytes of their predictions."""


def require_format(path: str) -> None:
    """Raise RequestInvalid if predictions cannot be written in the format of a path's ending."""
    if Path(path).suffix not in _WRITERS:
        raise RequestInvalid(f"{path}: is of no known format; name a .parquet or a .csv file")


class PredictionWriter:
    """A file of predictions that is being written, part after part."""

    def __init__(
        self, path: Path, *, classes: ClassTable, target: TargetName, id_name: str | None, labels_only: bool
    ) -> None:
        """Begin a file. Nothing is written before the first part.

        Args:
            path: The file. Its ending says which format.
            classes: The classes, labels or columns of numbers of the run, which are named.
            target: What the run predicts. Of several labels, a sample gets the list of those with a probability above
                1/2; in CSV, they are separated by spaces.
            id_name: Name of the column of ids; None writes no ids.
            labels_only: Whether probabilities are left out.
        """
        self._path, self._target, self._id_name, self._labels_only = path, target, id_name, labels_only
        self._is_text = path.suffix == ".csv"
        self._classes = classes
        self._waiting: list[pa.Table] = []
        self._writer: Any = None
        self.rows = 0
        """Samples that were written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            if self._writer is not None:
                with suppress(OSError) if kind else nullcontext():
                    self._writer.close()

    def write(
        self,
        predictions: Probabilities,
        ids: pa.Array | pa.ChunkedArray | None,
        *,
        certain: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Add samples.

        Args:
            predictions: (samples, outputs): probabilities of classes or labels, or numbers.
            ids: (samples,); None if no ids are written.
            certain: (samples,) marks of certainty; None if none are written.

        Raises:
            OSError: The file cannot be written.
        """
        self._waiting.append(self._table(predictions, ids, certain))
        self.rows += len(predictions)
        if sum(table.num_rows for table in self._waiting) >= rows_at_once(predictions.shape[1]):
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table, self._waiting = pa.concat_tables(self._waiting).combine_chunks(), []
        if self._writer is None:
            self._writer = _WRITERS[self._path.suffix](self._path, table.schema)
        self._writer.write_table(table)

    def _table(
        self,
        predictions: Probabilities,
        ids: pa.Array | pa.ChunkedArray | None,
        certain: npt.NDArray[np.bool_] | None,
    ) -> pa.Table:
        columns = [] if self._id_name is None else [(self._id_name, ids)]
        labels = [self._classes.label(number) for number in range(predictions.shape[1])]
        by_label = [(label, pa.array(column)) for label, column in zip(labels, predictions.T, strict=True)]
        match self._target:
            case TargetName.CLASSES:
                columns.append(("label", pa.array(labels).take(pa.array(predictions.argmax(axis=1)))))
            case TargetName.LABELS:
                columns.append(("labels", _labels(predictions, labels, is_text=self._is_text)))
            case TargetName.REGRESSION:
                has_names = self._classes.names
                columns += [(str(label) if has_names else f"value_{label}", values) for label, values in by_label]
        if certain is not None:
            columns.append(("certain", pa.array(certain)))
        if not self._labels_only and self._target is not TargetName.REGRESSION:
            columns += [(f"probability_{label}", values) for label, values in by_label]
        return pa.Table.from_arrays([column for _, column in columns], names=[name for name, _ in columns])


def rows_at_once(outputs: int) -> int:
    """Return how many samples are predicted and written at once, so that their predictions take a few megabytes."""
    return max(1, min(_MOST_ROWS, _PART_BYTES // (4 * max(1, outputs))))


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
        classes: As for `PredictionWriter`.
        target: As for `PredictionWriter`.
        ids: (samples,), of the samples; None writes no ids.
        id_name: Name of the column of ids.
        labels_only: Whether probabilities are left out.

    Raises:
        RequestInvalid: The file cannot be written.
    """
    kept = None if ids is None else pa.array(ids)
    name = None if ids is None else id_name
    with (
        written_whole(path) as partial,
        PredictionWriter(partial, classes=classes, target=target, id_name=name, labels_only=labels_only) as writer,
    ):
        size = rows_at_once(predictions.shape[1])
        for start in range(0, max(1, len(predictions)), size):
            part = slice(start, start + size)
            writer.write(predictions[part], None if kept is None else kept[part])


@contextmanager
def written_whole(path: str) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `path` at the end. Raises RequestInvalid if it cannot be written."""
    try:
        with atomic_write(path) as partial:
            yield partial
    except OSError as error:
        raise RequestInvalid(f"{path}: cannot be written ({one_line(error)}); name another place") from error


def _labels(predictions: Probabilities, labels: Sequence[LabelValue], *, is_text: bool) -> pa.Array:
    """Return the labels of each sample, whose probability is above 1/2."""
    members = [[labels[number] for number in (row > 0.5).nonzero()[0]] for row in predictions]
    if is_text:
        return pa.array([" ".join(str(label) for label in row) for row in members], type=pa.string())
    return pa.array(members, type=pa.list_(pa.array(labels).type))
