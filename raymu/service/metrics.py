"""Metrics of predictions, by scikit-learn."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from raymu.config import TargetName
from raymu.core.arrays import Probabilities, Targets
from raymu.data.classes import ClassTable

Metrics: TypeAlias = dict[str, float]


def metrics_of(predictions: Probabilities, targets: Targets, target: TargetName, classes: ClassTable) -> Metrics:
    """Compute the metrics that are usual for a kind of target.

    Args:
        predictions: (samples, outputs): probabilities, or numbers.
        targets: (samples,) int64, or (samples, outputs).
        target: The kind of target.
        classes: The classes, labels or columns of numbers.

    Returns:
        Metrics by name. One that a table does not allow, such as ROC AUC of a single class, is left out.
    """
    return _METRICS[target](predictions, targets, classes)


def _of_classes(predictions: Probabilities, targets: Targets, _classes: ClassTable) -> Metrics:
    from sklearn import metrics

    answers = predictions.argmax(axis=1)
    values = {
        "accuracy": metrics.accuracy_score(targets, answers),
        "macro_f1": metrics.f1_score(targets, answers, average="macro", zero_division=0.0),
    }
    areas = [
        metrics.roc_auc_score(targets == number, predictions[:, number])
        for number in np.unique(targets)
        if len(np.unique(targets)) > 1
    ]
    if areas:
        values["roc_auc"] = np.mean(areas)
    return _as_floats(values)


def _of_labels(predictions: Probabilities, targets: Targets, classes: ClassTable) -> Metrics:
    from sklearn import metrics

    truth, answers = targets > 0.5, predictions > 0.5
    values = {
        "accuracy": (truth == answers).mean(),
        "exact_match": metrics.accuracy_score(truth, answers),
        "macro_f1": metrics.f1_score(truth, answers, average="macro", zero_division=0.0),
    }
    mixed = [number for number in range(classes.count) if len(np.unique(truth[:, number])) > 1]
    if mixed:
        values["roc_auc"] = metrics.roc_auc_score(truth[:, mixed], predictions[:, mixed], average="macro")
    scores = metrics.f1_score(truth, answers, average=None, zero_division=0.0)
    return _as_floats(values | {f"f1_{classes.label(number)}": score for number, score in enumerate(scores)})


def _of_numbers(predictions: Probabilities, targets: Targets, classes: ClassTable) -> Metrics:
    from sklearn import metrics

    truth, answers = targets.astype(np.float64), predictions.astype(np.float64)
    values = {
        "mae": metrics.mean_absolute_error(truth, answers),
        "rmse": metrics.root_mean_squared_error(truth, answers),
    }
    if len(truth) > 1:
        values["r2"] = metrics.r2_score(truth, answers)
    if classes.count > 1:
        errors = metrics.mean_absolute_error(truth, answers, multioutput="raw_values")
        values |= {f"mae_{classes.label(number)}": error for number, error in enumerate(errors)}
    return _as_floats(values)


def _as_floats(values: Mapping[str, Any]) -> Metrics:
    return {name: float(value) for name, value in values.items()}


_METRICS: Mapping[TargetName, Callable[[Probabilities, Targets, ClassTable], Metrics]] = {
    TargetName.CLASSES: _of_classes,
    TargetName.LABELS: _of_labels,
    TargetName.REGRESSION: _of_numbers,
}
