"""Predictions of the service: a body becomes a table of samples, and the model's outputs become an answer."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.api import Run
from raymu.config import TargetName
from raymu.core.arrays import Probabilities
from raymu.errors import DataInvalid
from raymu.text import one_line
from raymu.web.documents import PredictionAnswer, PredictionBody

_SOURCE = "the body"


def predict(run: Run, name: str, body: PredictionBody) -> PredictionAnswer:
    """Predict samples with the generation that is served now.

    Raises:
        DataInvalid: The samples do not fit the run.
        RaymuError: What `Run.predict` raises.
    """
    generation, outputs = run.predict_with_generation(_samples(run, body))
    manifest = run.manifest
    classes, target = manifest.class_table, manifest.form.target
    names = [classes.label(number) for number in range(outputs.shape[1])]
    shows_outputs = target is not TargetName.REGRESSION and not body.labels_only
    return PredictionAnswer(
        run=name,
        generation=generation,
        names=list(map(str, names)),
        labels=_labels(outputs, names, target),
        probabilities=outputs.tolist() if shows_outputs else None,
    )


def _samples(run: Run, body: PredictionBody) -> pa.Table | npt.NDArray[Any]:
    try:
        if body.rows is not None:
            return pa.Table.from_pylist(body.rows)
        features = np.array(body.features)
        if features.dtype.kind not in "iuf":
            raise ValueError("they are not numbers of one shape")
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise DataInvalid(
            _SOURCE, f"the samples cannot be read ({one_line(error)}); give each the same columns"
        ) from error
    return (
        features.astype(np.float32) if features.dtype.kind == "f" or not run.manifest.has_integer_inputs else features
    )


def _labels(outputs: Probabilities, names: list[Any], target: TargetName) -> list[Any]:
    match target:
        case TargetName.CLASSES:
            return [names[number] for number in outputs.argmax(axis=1)]
        case TargetName.LABELS:
            return [[names[number] for number in (row > 0.5).nonzero()[0]] for row in outputs]
        case TargetName.REGRESSION:
            return list(outputs.tolist())
