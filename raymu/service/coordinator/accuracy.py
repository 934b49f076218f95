"""Accuracy over generations: superseded ones are destroyed, so each is measured while it is served."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import torch

from raymu.core.events import Event, GenerationEvaluated, GenerationPublished
from raymu.data.tables import read_test_data
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore

_AT_ONCE = 1024
"""Samples that are measured before whatever else waits has its turn."""

_log = logging.getLogger(__name__)


class AccuracyTracker:
    """Measures generations on the test file, each once, where the configuration asks for it."""

    def __init__(self, store: RunStore, *, clock: Callable[[], datetime], measured: Iterable[int]) -> None:
        """measured: the generations that the journal has the accuracy of"""
        self._store, self._clock = store, clock
        self._measured = set(measured)

    async def follow(self, published: GenerationPublished | None, record: Callable[[Event], None]) -> None:
        """Measure the current generation, and have it recorded; what goes wrong is logged, and harms no request."""
        if not self._store.config.data.track_accuracy or published is None or published.number in self._measured:
            return
        self._measured.add(published.number)
        try:
            if (measured := await self._measure(published)) is not None:
                record(measured)
        except Exception as error:  # whatever it was, the requests are served; the next call tries again
            self._measured.discard(published.number)
            problem = type(error).__name__  # its text may hold a path, or more
            _log.warning("generation %d was not measured: %s", published.number, problem)

    async def _measure(self, published: GenerationPublished) -> GenerationEvaluated | None:
        """returns: None for a generation that is only rewound, and soon superseded"""
        generation = self._store.generations.read(published)
        if generation.cause == "rewind":
            return None
        features, labels = read_test_data(self._store.config.data, self._store.manifest.input_shape)
        ensemble = Ensemble(self._store, generation, device=torch.device("cpu"))  # GPUs are the shards'
        correct = 0
        for rows in _parts(len(labels)):
            part = ensemble.evaluate(features[rows], labels[rows])
            correct += round(part.accuracy * part.samples)
            await asyncio.sleep(0)
        accuracy = correct / len(labels)
        return GenerationEvaluated(at=self._clock(), number=generation.number, samples=len(labels), accuracy=accuracy)


def _parts(samples: int) -> Iterator[slice]:
    for start in range(0, samples, _AT_ONCE):
        yield slice(start, start + _AT_ONCE)
