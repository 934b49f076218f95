"""Predictions of the service: a body becomes samples, and the model's outputs become an answer, in JSON or in Arrow."""

import asyncio
import json
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.api import Run
from raymu.config import TargetName
from raymu.core.arrays import Probabilities
from raymu.data.rows import Rows
from raymu.errors import DataInvalid
from raymu.service.prediction import Predictions
from raymu.text import one_line
from raymu.web.arrow_stream import write_stream
from raymu.web.documents import PredictionAnswer, PredictionBody

AT_ONCE_S = 0.002
"""Predictions that take less are made where calls are answered. Others get a thread, and other calls go on meanwhile."""
_SOURCE = "the body"


class Predictor:
    """Predicts samples of one run: at once what takes little, the rest in a thread.

    The seconds that arrays took before tell how long others of their length take. Those of columns do not: one text may be
    much longer than another.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._least_s: dict[int, float] = {}
        """Number of digits of the number of samples, in binary -> least seconds that so many took."""

    async def predict(self, samples: Rows) -> Predictions:
        """Predict with the generation that is served now. Raises what `Run.predict` raises."""
        size = len(samples).bit_length()
        is_little = isinstance(samples, np.ndarray) and self._least_s.get(size, AT_ONCE_S) < AT_ONCE_S
        if is_little and (answer := self._run.predict_if_loaded(samples)):
            return answer
        return await asyncio.to_thread(self._predict, samples, size)

    def _predict(self, samples: Rows, size: int) -> Predictions:
        started = time.perf_counter()
        answer = self._run.predict_marked(samples)
        seconds = time.perf_counter() - started
        self._least_s[size] = min(seconds, self._least_s.get(size, seconds))
        return answer


def samples_of_document(run: Run, body: PredictionBody) -> Rows:
    """Return the samples of a JSON body. Raises DataInvalid."""
    try:
        if body.rows is not None:
            return run.samples_of(pa.Table.from_pylist(body.rows))
        features = np.array(body.features)
        if features.dtype.kind not in "iuf":
            raise ValueError("they are not numbers of one shape")
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise DataInvalid(
            _SOURCE, f"the samples cannot be read ({one_line(error)}); give each the same columns"
        ) from error
    if features.dtype.kind != "f" and run.manifest.has_integer_inputs:
        return features
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite, which no model takes
        return features.astype(np.float32)


def samples_of_table(run: Run, table: pa.Table) -> Rows:
    """Return the samples of a table. One column of floats in lists of one length stays where it is. Raises DataInvalid."""
    try:
        samples = _lists(run, table)
        return run.samples_of(table) if samples is None else samples
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise DataInvalid(_SOURCE, f"the samples cannot be read ({one_line(error)}); send the run's columns") from error


def _lists(run: Run, table: pa.Table) -> npt.NDArray[Any] | None:
    form, name = run.manifest.form, run.config.data.features
    if form.columns is not None or not isinstance(name, str) or table.column_names != [name]:
        return None
    column = table.column(0).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        return None
    shape: tuple[int, ...] = ()
    if isinstance(column.type, pa.FixedShapeTensorType):
        if column.type.permutation is not None and list(column.type.permutation) != sorted(column.type.permutation):
            return None
        shape, column = tuple(column.type.shape), column.storage
    if not pa.types.is_fixed_size_list(column.type) or column.type.value_type != pa.float32() or column.null_count:
        return None
    values = column.flatten()
    if values.null_count:
        return None
    return np.asarray(values.to_numpy(zero_copy_only=True).reshape(len(column), *(shape or (column.type.list_size,))))


def json_document(run: Run, name: str, answer: Predictions, *, labels_only: bool) -> PredictionAnswer:
    """Return predictions as a JSON answer."""
    names, target = _names(run, answer), run.manifest.form.target
    shows_outputs = target is not TargetName.REGRESSION and not labels_only
    return PredictionAnswer(
        run=name,
        generation=answer.generation,
        names=list(map(str, names)),
        labels=_labels(answer.outputs, names, target),
        certain=None if answer.certain is None else answer.certain.tolist(),
        probabilities=answer.outputs.tolist() if shows_outputs else None,
    )


def arrow_stream(run: Run, name: str, answer: Predictions, *, labels_only: bool) -> bytes:
    """Return predictions as an Arrow stream.

    Its columns are `label`, the class of each sample, or `labels`, the list of its labels, or `values`, its numbers; for
    classes `certain`; and `probabilities`, unless they are left out. The metadata of the schema have `raymu.run`,
    `raymu.generation` and `raymu.names`, a JSON list of the classes, labels or columns of numbers.
    """
    names, target, outputs = _names(run, answer), run.manifest.form.target, answer.outputs
    lists = pa.FixedSizeListArray.from_arrays(pa.array(outputs.ravel()), outputs.shape[1])
    columns: dict[str, pa.Array] = {}
    match target:
        case TargetName.CLASSES:
            columns["label"] = pa.array(names).take(pa.array(outputs.argmax(axis=1)))
        case TargetName.LABELS:
            columns["labels"] = pa.array(_labels(outputs, names, target), type=pa.list_(pa.array(names).type))
        case TargetName.REGRESSION:
            columns["values"] = lists
    if answer.certain is not None:
        columns["certain"] = pa.array(answer.certain)
    if target is not TargetName.REGRESSION and not labels_only:
        columns["probabilities"] = lists
    facts = {
        "raymu.run": name,
        "raymu.generation": str(answer.generation),
        "raymu.names": json.dumps(list(map(str, names))),
    }
    return write_stream(pa.table(columns).replace_schema_metadata(facts))


def _names(run: Run, answer: Predictions) -> list[Any]:
    classes = run.manifest.class_table
    return [classes.label(number) for number in range(answer.outputs.shape[1])]


def _labels(outputs: Probabilities, names: list[Any], target: TargetName) -> list[Any]:
    match target:
        case TargetName.CLASSES:
            return [names[number] for number in outputs.argmax(axis=1)]
        case TargetName.LABELS:
            return [[names[number] for number in (row > 0.5).nonzero()[0]] for row in outputs]
        case TargetName.REGRESSION:
            return list(outputs.tolist())
