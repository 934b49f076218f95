"""Metrics of each kind of target."""

import numpy as np
import pytest

from raymu.config import TargetName
from raymu.data.classes import ClassTable
from raymu.service.metrics import metrics_of


def test_metrics_of_classes() -> None:
    predictions = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]], dtype=np.float32)
    metrics = metrics_of(predictions, np.array([0, 0, 1, 1]), TargetName.CLASSES, ClassTable(count=2))
    assert metrics == pytest.approx({"accuracy": 0.75, "macro_f1": (0.8 + 2 / 3) / 2, "roc_auc": 0.75})
    one_class = metrics_of(predictions, np.zeros(4, dtype=np.int64), TargetName.CLASSES, ClassTable(count=2))
    assert one_class.keys() == {"accuracy", "macro_f1"}


def test_metrics_of_labels_name_each_label() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    predictions = np.array([[0.9, 0.1], [0.8, 0.3], [0.2, 0.2]], dtype=np.float32)
    classes = ClassTable(count=2, names=("red", "blue"))
    metrics = metrics_of(predictions, truth, TargetName.LABELS, classes)
    assert metrics["f1_red"] == 1.0
    assert metrics["f1_blue"] == 0.0
    assert metrics["exact_match"] == pytest.approx(2 / 3)
    assert metrics["accuracy"] == pytest.approx(5 / 6)
    assert metrics["roc_auc"] == 1.0


def test_metrics_of_numbers() -> None:
    truth = np.array([[1.0, 10.0], [3.0, 20.0]], dtype=np.float32)
    predictions = np.array([[2.0, 10.0], [3.0, 24.0]], dtype=np.float32)
    metrics = metrics_of(predictions, truth, TargetName.REGRESSION, ClassTable(count=2, names=("a", "b")))
    assert metrics["mae_a"] == 0.5
    assert metrics["mae_b"] == 2.0
    assert metrics["mae"] == pytest.approx(1.25)
    assert metrics["rmse"] == pytest.approx((0.5**0.5 + 8**0.5) / 2)
    assert metrics["r2"] == pytest.approx((0.5 + 0.68) / 2)
