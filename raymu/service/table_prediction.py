"""Predictions of a table of any length: read, predicted and written part after part, all by one generation."""

import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import pyarrow as pa

from raymu.core.arrays import Probabilities
from raymu.core.certainty import Marks
from raymu.data.predictions import PredictionWriter, rows_at_once, written_whole
from raymu.data.row_stream import RowPart, RowStream, naming_row, open_rows
from raymu.errors import DataInvalid, FileMissing
from raymu.service.phase import no_count
from raymu.service.prediction import Ensemble, Evaluation
from raymu.service.served_ensemble import ServedEnsemble, Superseded
from raymu.store.run import RunStore

Part = TypeVar("Part")

RowProgress: TypeAlias = Callable[[int, int], None]
"""Called with the rows that are done, and with those of all; 0 if the files do not say how many they are."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictedPart:
    """Predictions of consecutive rows."""

    predictions: Probabilities
    """(samples, outputs) float32: probabilities, or numbers."""
    ids: pa.ChunkedArray | None
    """(samples,); None if the table has no ids."""
    certain: Marks | None = None
    """(samples,) whether no open shard can change the class; None unless the run predicts classes."""


Predictor: TypeAlias = Callable[[Ensemble], Generator[PredictedPart]]
"""Predicts one table with an ensemble, part after part in the order of its rows. It may be called again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TablePrediction:
    """What was predicted."""

    out: str
    """The file with the predictions."""
    samples: int
    generation: int
    """Number of the generation that all predictions come from."""


def rows_to_predict(store: RunStore, data: str) -> RowStream:
    """Open a table to predict with a run. Raises DataInvalid."""
    manifest = store.manifest
    return open_rows(data, store.config.data, manifest.form, input_shape=manifest.input_shape)


def most_rows(ensemble: Ensemble) -> int:
    """Return how many rows are predicted at once at most: a multiple of those that the bits depend on."""
    unit = ensemble.batch_rows
    return max(unit, rows_at_once(ensemble.outputs) // unit * unit)


def predict_here(
    rows: RowStream, ensemble: Ensemble, start: int = 0, stop: int | None = None
) -> Generator[PredictedPart]:
    """Predict the rows of a table in this process, from `start`, a multiple of the ensemble's batches. Raises DataInvalid."""
    for part in rows.parts(ensemble.batch_rows, most=most_rows(ensemble), start=start, stop=stop):
        yield predicted(part, ensemble)


def predicted(part: RowPart, ensemble: Ensemble) -> PredictedPart:
    """Predict a part. Raises DataInvalid, which names the first row that is refused."""
    marked = naming_row(lambda count: ensemble.predict_marked(part.features[:count]), rows=len(part), start=part.start)
    return PredictedPart(predictions=marked.outputs, ids=part.ids, certain=marked.certain)


def predict_table(
    store: RunStore,
    served: ServedEnsemble,
    rows: RowStream,
    out: str,
    predictor: Predictor,
    *,
    labels_only: bool,
    check: Callable[[], object],
    progress: RowProgress = no_count,
) -> TablePrediction:
    """Predict a table into a file, which appears under its name when it is whole.

    Before that, and after each part, the journal is asked whether the run still serves the generation that the answers come
    from. Otherwise all rows are predicted again.

    Args:
        store: The run.
        served: Its ensemble.
        rows: The table.
        out: A Parquet or CSV file.
        predictor: Predicts the table.
        labels_only: Whether probabilities are left out.
        check: May refuse the run, as for `ServedEnsemble.answer`.
        progress: Called after each part.

    Raises:
        DataInvalid: The table cannot be read, or a row does not fit.
        RequestInvalid: The file cannot be written, or generations came faster than the answer.
    """
    total = rows.stream.rows or 0
    id_name = store.config.data.id if store.config.data.id in rows.names else None

    def compute(ensemble: Ensemble) -> TablePrediction:
        writer = PredictionWriter(
            partial,
            classes=store.manifest.class_table,
            target=store.config.task.target,
            id_name=id_name,
            labels_only=labels_only,
        )
        with writer, closing(_unless_superseded(predictor(ensemble), served, ensemble, check)) as parts:
            for part in parts:
                writer.write(part.predictions, part.ids, certain=part.certain)
                progress(writer.rows, total)
        _sync(partial)  # before the last check, since it may take long
        return TablePrediction(out=out, samples=writer.rows, generation=ensemble.generation.number)

    with written_whole(out) as partial:
        return served.answer(compute, check)


def evaluate_table(
    served: ServedEnsemble, rows: RowStream, *, check: Callable[[], object], progress: RowProgress = no_count
) -> Evaluation:
    """Measure the score on a labelled table. Arguments and errors are those of `predict_table`."""
    if not rows.has_labels:
        names = ", ".join(rows.fields.label_columns)
        raise DataInvalid(rows.stream.source, f"has no column {names}; evaluation needs labels")

    def compute(ensemble: Ensemble) -> Evaluation:
        tally = ensemble.tally(has_metrics=True)
        parts = rows.parts(ensemble.batch_rows, most=most_rows(ensemble))
        with closing(_unless_superseded(parts, served, ensemble, check)) as checked:
            for part in checked:
                assert part.labels is not None, "the table has labels"
                ensemble.add_to(tally, part.features, part.labels)
                progress(tally.samples, rows.stream.rows or 0)
        return ensemble.evaluation(tally)

    return served.answer(compute, check)


def _unless_superseded(
    parts: Generator[Part], served: ServedEnsemble, ensemble: Ensemble, check: Callable[[], object]
) -> Generator[Part]:
    """Yield parts as long as the run serves an ensemble. Raises Superseded."""
    try:
        with closing(parts):
            for part in parts:
                yield part
                if served.current(check) is not ensemble:
                    raise Superseded
    except FileMissing as error:  # other processes load the models, which a purge may have destroyed
        if served.current(check) is ensemble:
            raise
        raise Superseded from error


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
