"""A table predicted on Ray: spans of its rows over actors, which have the ensemble in memory and read the table themselves.

No row goes through Ray's object store. Predictions do, sealed. They have the bits of one process: spans begin at multiples of
a batch.
"""

from collections.abc import Generator, Mapping
from contextlib import closing
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from ray.exceptions import RayError

from raymu.config import ClusterConfig
from raymu.core.records import Generation
from raymu.core.trust import Trust
from raymu.core.uri import redacted
from raymu.data.row_stream import RowStream
from raymu.errors import DataInvalid, DeviceUnavailable, RaymuError
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.messages import Failure, MessageCipher
from raymu.runtime.nodes import capacity
from raymu.runtime.ray_data import map_in_order
from raymu.runtime.ray_errors import first_sentence
from raymu.service.phase import PREDICTING, STARTING_RAY, begin_phase
from raymu.service.prediction import Ensemble
from raymu.service.table_prediction import PredictedPart, most_rows, predict_here, rows_to_predict
from raymu.store.run import RunStore
from raymu.user_paths import data_location

_ATTEMPTS = 3
"""Pools of actors that are started before it is given up. Rows that are predicted already are not predicted again."""
_SPANS_OF_ACTOR = 4
"""Spans that an actor gets at least, so that all actors end at about the same time."""

_Batch: TypeAlias = Mapping[str, npt.NDArray[Any]]


class SpanPredictor:
    """A plain class that Ray Data runs as an actor. What it returns is sealed, errors too."""

    def __init__(self, location: str, trust: Trust, data: str, generation: bytes) -> None:
        """Name the work. Ray passes on a constructor's errors as text, so nothing is opened here.

        Args:
            location: The run.
            trust: The demands of the run that are followed.
            data: The table.
            generation: The generation to predict with, and the shards that requests wait for, encrypted.
        """
        self._location, self._trust, self._data, self._generation = location, trust, data, generation

    def __call__(self, batch: _Batch) -> dict[str, npt.NDArray[Any]]:
        """Predict one span of rows: `start` and `stop`. Returns the parts as `sealed`, or a `problem` before that."""
        sealed, problem = b"", ""
        try:
            sealed = self._cipher.encrypt(self._answer(int(batch["start"][0]), int(batch["stop"][0])))
        except RaymuError as error:  # this node cannot read the run
            problem = str(error)
        return {"sealed": np.array([sealed], dtype=object), "problem": np.array([problem], dtype=object)}

    def _answer(self, start: int, stop: int) -> list[PredictedPart] | Failure:
        try:
            return list(predict_here(self._rows, self._ensemble, start, stop))
        except Exception as error:  # of any code; Ray would keep its text in clear
            return Failure(error)

    @cached_property
    def _store(self) -> RunStore:
        return RunStore(self._location, trust=self._trust)

    @cached_property
    def _cipher(self) -> MessageCipher:
        return MessageCipher(self._store)

    @cached_property
    def _rows(self) -> RowStream:
        try:
            return rows_to_predict(self._store, self._data)
        except DataInvalid as error:
            raise _TableAbsent(error.source, error.problem) from error

    @cached_property
    def _ensemble(self) -> Ensemble:
        generation: Generation
        awaited: frozenset[int]
        generation, awaited = self._cipher.decrypt(self._generation)
        return Ensemble(self._store, generation, awaited=awaited)


class _TableAbsent(DataInvalid):
    """A node cannot open the table, which the process that asked has opened."""


def predict_on_ray(
    rows: RowStream, ensemble: Ensemble, start: int, *, store: RunStore, cluster: ClusterConfig
) -> Generator[PredictedPart]:
    """Predict the rows of a table from `start` on with the actors of a Ray cluster.

    A table that the nodes do not have, such as a file on the disk of this machine, is predicted in this process.

    Args:
        rows: The table, of one or more files.
        ensemble: The ensemble, of which the actors load the generation.
        start: The first row, a multiple of the ensemble's batches.
        store: The run.
        cluster: Its cluster settings.

    Raises:
        DeviceUnavailable: The cluster cannot be joined, has no room, or loses its actors.
        FileMissing: The generation is not there any more.
        DataInvalid: A row does not fit.
    """
    assert isinstance(rows.data, str), "a table in memory is in one process"
    done = start
    begin_phase(STARTING_RAY)
    with cluster_connection(cluster):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                for part in _predicted(rows, ensemble, done, store=store, cluster=cluster):
                    yield part
                    done += len(part.predictions)
                return
            except _TableAbsent:
                break
            except RayError as error:
                if attempt == _ATTEMPTS:
                    raise DeviceUnavailable(
                        f"Ray lost what predicts {_ATTEMPTS} times ({first_sentence(error)}); try again, or set "
                        "cluster.fleet to local"
                    ) from error
    yield from predict_here(rows, ensemble, done)


def _predicted(
    rows: RowStream, ensemble: Ensemble, start: int, *, store: RunStore, cluster: ClusterConfig
) -> Generator[PredictedPart]:
    """Predict with one pool of actors."""
    assert isinstance(rows.data, str), "a table in memory is in one process"
    cipher, workers, total = MessageCipher(store), capacity(cluster), rows.count()
    spans = _spans(start, total, size=_span_rows(ensemble, total - start, workers))
    arguments = (
        store.location,
        store.trust,
        data_location(rows.data),
        cipher.encrypt((ensemble.generation, ensemble.awaited)),
    )
    results = map_in_order(spans, SpanPredictor, arguments, cluster, actors=min(workers, len(spans)))
    with closing(results):
        for result in results:
            begin_phase(PREDICTING)
            if result["problem"]:
                raise DeviceUnavailable(
                    f"a node cannot open the run {redacted(store.location)} ({result['problem']}); see that its directory "
                    "is there too, or its credentials"
                )
            yield from cipher.decrypt(result["sealed"])


def _span_rows(ensemble: Ensemble, rows: int, workers: int) -> int:
    unit = ensemble.batch_rows
    even = -(-rows // (workers * _SPANS_OF_ACTOR * unit)) * unit
    return max(unit, min(most_rows(ensemble), even))


def _spans(start: int, stop: int, *, size: int) -> list[dict[str, int]]:
    return [{"start": first, "stop": min(stop, first + size)} for first in range(start, stop, size)]
