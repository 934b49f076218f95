"""Measures the accuracy of each generation while it is served, because superseded ones are destroyed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial

from raymu.core.events import Event, GenerationEvaluated, GenerationPublished
from raymu.data.tables import read_test_data
from raymu.service.coordinator.session import Session

SAMPLES_PER_TURN = 1024
"""Samples that are measured before other calls have their turn."""

_log = logging.getLogger(__name__)


class AccuracyTracker:
    """Measures each generation once on the test file, if the run is configured to."""

    def __init__(self, session: Session, *, measured: Iterable[int]) -> None:
        """Take note of the generations whose accuracy the journal has."""
        self._session = session
        self._measured = set(measured)

    async def measure(self, published: GenerationPublished | None, record: Callable[[Event], Awaitable[None]]) -> None:
        """Measure the current generation and record the result. An error is logged, and fails no request."""
        is_tracked = self._session.store.config.data.track_accuracy
        if not is_tracked or published is None or published.number in self._measured:
            return
        self._measured.add(published.number)
        try:
            if (evaluated := await self._measure(published)) is not None:
                await record(evaluated)
        except Exception as error:  # requests are served whatever it is, and the next call tries again
            self._measured.discard(published.number)
            problem = type(error).__name__  # its text may hold a path
            _log.warning("generation %d was not measured: %s", published.number, problem)

    async def _measure(self, published: GenerationPublished) -> GenerationEvaluated | None:
        """Return None for a rewound generation, which another one soon supersedes."""
        import torch  # here, as few coordinators measure anything, and the others do without PyTorch

        from raymu.service.prediction import Ensemble, read_states

        store, offload = self._session.store, self._session.offload
        generation = await offload(partial(store.generations.read, published))
        if generation.cause == "rewind":
            return None
        store.require_trusted("data.test")
        features, labels = await offload(
            partial(
                read_test_data,
                store.config.data,
                store.manifest.class_table,
                store.manifest.input_shape,
                store.manifest.form,
            )
        )
        states = await offload(partial(read_states, store, generation))
        # PyTorch stays in this thread, whose random state a training may share, and on the CPU: GPUs are the shards'.
        ensemble = Ensemble(store, generation, device=torch.device("cpu"), states=states)
        correct = 0
        for rows in _parts(len(labels)):
            part = ensemble.evaluate(features[rows], labels[rows])
            correct += round(part.accuracy * part.samples)
            await asyncio.sleep(0)
        return GenerationEvaluated(
            at=self._session.clock(),
            number=generation.number,
            samples=len(labels),
            accuracy=correct / len(labels),
        )


def _parts(samples: int) -> Iterator[slice]:
    for start in range(0, samples, SAMPLES_PER_TURN):
        yield slice(start, start + SAMPLES_PER_TURN)
