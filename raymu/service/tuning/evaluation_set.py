"""What an ensemble is asked: the test data, and the samples that it was to forget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raymu.config import DataConfig
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.records import ShardLineage
from raymu.data.tables import SampleTable, from_arrow, read_features
from raymu.errors import RequestInvalid
from raymu.output_file import atomic_write
from raymu.store.run import RunStore

Features = npt.NDArray[np.generic]
Predict = Callable[[Features], npt.NDArray[np.float32]]


def write_answers(answers: PredictionSummary, path: Path) -> None:
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez(file, **{one.name: getattr(answers, one.name) for one in fields(PredictionSummary)})


def read_answers(path: Path) -> PredictionSummary:
    found = np.load(path)
    return PredictionSummary(
        test=found["test"],
        test_accuracy=float(found["test_accuracy"]),
        forget=found["forget"],
        forget_accuracy=float(found["forget_accuracy"]),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationSet:
    """features: (test samples, *shape); labels: (test samples,) int64"""

    features: Features
    labels: npt.NDArray[np.int64]
    forgotten: SampleTable

    @classmethod
    def of(cls, test: str, data: DataConfig, forgotten: SampleTable) -> "EvaluationSet":
        """test: a labelled table. Raises DataInvalid, RequestInvalid."""
        table = read_features(test, data)
        if table.labels is None:
            raise RequestInvalid(f"{test}: has no column {data.label}; trials need labels")
        return cls(features=table.features, labels=table.labels, forgotten=forgotten)

    def accuracy(self, predict: Predict) -> float:
        """On the test data."""
        return float((predict(self.features).argmax(axis=1) == self.labels).mean())

    def answers(self, predict: Predict) -> PredictionSummary:
        """On the test data, and on the samples to forget."""
        return PredictionSummary.of(
            test=predict(self.features),
            test_labels=self.labels,
            forget=predict(self.forgotten.features),
            forget_labels=self.forgotten.labels,
        )


def held_samples(store: RunStore, lineages: Sequence[ShardLineage], rows: npt.NDArray[np.int64]) -> SampleTable:
    """Some of a run's samples. rows: of its population, whose order they are returned in"""
    rows = np.sort(rows)
    tables = [from_arrow(store.read_table(lineage.table))[0] for lineage in lineages]
    starts = np.cumsum([0, *(len(table.ids) for table in tables)])
    parts = [
        table.take(rows[(rows >= start) & (rows < start + len(table.ids))] - start)
        for table, start in zip(tables, starts[:-1], strict=True)
    ]
    return SampleTable(
        ids=np.concatenate([part.ids for part in parts]),
        features=np.concatenate([part.features for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )
