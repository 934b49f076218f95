"""What an ensemble is asked: the test data, and the samples that it was to forget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raymu.config import DataConfig
from raymu.core.records import ShardLineage
from raymu.errors import RequestInvalid
from raymu.learn.data import SampleTable, from_arrow, read_features
from raymu.outputs import whole_file
from raymu.store.run import RunStore

Losses = npt.NDArray[np.float64]
Features = npt.NDArray[np.generic]
Predict = Callable[[Features], npt.NDArray[np.float32]]

_SMALLEST = 1e-12
"""Of a probability whose logarithm is taken."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """What an ensemble answers. losses: (forgotten samples,) nats"""

    accuracy: float
    losses: Losses

    def distance(self, oracle: "Outcome") -> tuple[float, float]:
        """How far the forgotten samples' losses are below the oracle's, and above them, on average. nats"""
        apart = self.losses - oracle.losses
        return float(np.maximum(-apart, 0.0).mean()), float(np.maximum(apart, 0.0).mean())

    def write(self, path: Path) -> None:
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez(file, accuracy=self.accuracy, losses=self.losses)

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        found = np.load(path)
        return cls(accuracy=float(found["accuracy"]), losses=found["losses"])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examination:
    """features: (test samples, *shape); labels: (test samples,) int64"""

    features: Features
    labels: npt.NDArray[np.int64]
    forgotten: SampleTable

    @classmethod
    def of(cls, test: str, fields: DataConfig, forgotten: SampleTable) -> "Examination":
        """test: a labelled table. Raises DataInvalid, RequestInvalid."""
        table = read_features(test, fields)
        if table.labels is None:
            raise RequestInvalid(f"{test}: has no column {fields.label}; trials need labels")
        return cls(features=table.features, labels=table.labels, forgotten=forgotten)

    def accuracy(self, predict: Predict) -> float:
        """On the test data."""
        return float((predict(self.features).argmax(axis=1) == self.labels).mean())

    def outcome(self, predict: Predict) -> Outcome:
        probabilities = predict(self.forgotten.features)
        chosen = probabilities[np.arange(len(probabilities)), self.forgotten.labels].astype(np.float64)
        return Outcome(accuracy=self.accuracy(predict), losses=-np.log(np.maximum(chosen, _SMALLEST)))


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
