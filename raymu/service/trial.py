"""Trials of a strategy on branches of a trained run.

A branch begins with the run's states and settings of its own, so the run itself stays as it is. What a trial did is
measured on one `EvaluationSet`, beside the retrained oracle and the negative control.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raymu.config import DataConfig, UnlearningConfig
from raymu.core.arrays import Targets
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.records import ShardLineage
from raymu.data.classes import ClassTable
from raymu.data.rows import Rows
from raymu.data.run_table import from_arrow
from raymu.data.sample_form import ARRAY, SampleForm
from raymu.data.tables import SampleTable, joined_tables, read_labelled
from raymu.errors import RequestInvalid
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.negative_control import NegativeControl, negative_control
from raymu.service.shard.fleet import LocalFleet
from raymu.store.creation import branch_run
from raymu.store.run import RunStore

Predict = Callable[[Rows], npt.NDArray[np.float32]]
"""Maps features to class probabilities: (samples, classes) float32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationSet:
    """The test set and the forget set that a trial's predictions are measured on."""

    features: Rows
    """(test samples, *input shape), or columns."""
    labels: Targets
    """(test samples,) int64"""
    forgotten: SampleTable

    def accuracy(self, predict: Predict) -> float:
        """Return the accuracy on the test set."""
        return float((predict(self.features).argmax(axis=1) == self.labels).mean())

    def summarize(self, predict: Predict) -> PredictionSummary:
        """Predict the test set and the forget set."""
        return PredictionSummary.of(
            test=predict(self.features),
            test_labels=self.labels,
            forget=predict(self.forgotten.features),
            forget_labels=self.forgotten.labels,
        )

    def control(self, store: RunStore) -> NegativeControl:
        """Fine-tune a run for the forget set without subtracting it."""
        return negative_control(store, self.forgotten.ids.tolist())


def read_test_set(path: str, data: DataConfig, classes: ClassTable, form: SampleForm = ARRAY) -> tuple[Rows, Targets]:
    """Read a labelled table. Raises DataInvalid, RequestInvalid."""
    table = read_labelled(path, data, classes, form)
    if table.labels is None:
        raise RequestInvalid(f"{path}: has no column {', '.join(data.label_columns)}; trials need labels")
    return table.features, table.labels


def samples_at(store: RunStore, lineages: Sequence[ShardLineage], rows: npt.NDArray[np.int64]) -> SampleTable:
    """Read some of a run's samples.

    Args:
        store: The run.
        lineages: The run's shards, in order.
        rows: Row numbers over the shards' tables joined in order. The result is sorted by row number.
    """
    rows = np.sort(rows)
    tables = [from_arrow(store.samples.read_table(lineage.table))[0] for lineage in lineages]
    starts = np.cumsum([0, *(len(table.ids) for table in tables)])
    parts = [
        table.take(rows[(rows >= start) & (rows < start + len(table.ids))] - start)
        for table, start in zip(tables, starts[:-1], strict=True)
    ]
    return joined_tables(parts)


@contextmanager
def temporary_branch(
    store: RunStore, lineages: Sequence[ShardLineage], unlearning: UnlearningConfig, *, folder: Path
) -> Iterator[RunStore]:
    """Branch a run into a new directory in `folder`. The branch holds training samples, so it is deleted at the end."""
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        yield branch_run(store, directory, lineages, unlearning)


def publish_branch(branch: RunStore, lineages: Sequence[ShardLineage]) -> None:
    """Publish the states that a branch begins with as its first generation, so that it can be opened as a run."""

    async def publish() -> None:
        coordinator = Coordinator(branch, LocalFleet(branch))
        await coordinator.adopt(lineages)
        await coordinator.close()

    asyncio.run(publish())
