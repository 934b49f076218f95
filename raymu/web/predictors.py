"""Calls for predictions, answered for all runs of a service: in the process that takes calls, or in a replica of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from raymu.api import Run
from raymu.data.rows import Rows
from raymu.web.arrow_messages import MessageInvalid
from raymu.web.arrow_stream import MEDIA_TYPE, read_stream
from raymu.web.bodies import payload_of, read_body, read_json
from raymu.web.documents import PredictionBody
from raymu.web.predicting import Predictor, arrow_stream, json_document, samples_of_document, samples_of_table
from raymu.web.refusals import Refused

Named = TypeVar("Named")

_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionCall:
    """A call for predictions, as it came."""

    body: bytes
    is_arrow: bool
    """Whether the body is an Arrow stream, and no JSON."""
    wants_arrow: bool
    """Whether the answer is to be one."""
    run: str | None = None
    """The run that the query of an Arrow stream names."""
    labels_only: str = "false"
    """What the query says of probabilities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionReply:
    """The answer to a call for predictions."""

    run: str
    """Name of the run."""
    generation: int
    payload: bytes
    """The body of the answer, in the form that the call asked for."""


class Predictors:
    """The predictors of all runs of a service."""

    def __init__(self, runs: Mapping[str, Run], *, labels_only: bool) -> None:
        """Begin with nothing loaded.

        Args:
            runs: Name -> run.
            labels_only: Whether predictions have no probabilities, whatever callers ask for.
        """
        self._runs, self._labels_only = dict(runs), labels_only
        self._predictors = {name: Predictor(run) for name, run in runs.items()}

    async def answer(self, call: PredictionCall) -> PredictionReply:
        """Predict the samples of a call. Raises Refused, RequestValidationError, RaymuError."""
        if call.is_arrow:
            name = self._name(call.run)
            run, is_short = self._runs[name], _flag("labels_only", call.labels_only)
            samples: Rows = await read_body(call.body, lambda payload: _samples(run, payload))
        else:
            document = await read_body(call.body, read_json(PredictionBody))
            name = self._name(document.run)
            run, is_short = self._runs[name], document.labels_only
            samples = await read_body(call.body, lambda _payload: samples_of_document(run, document))
        answer = await self._predictors[name].predict(samples)
        is_short = is_short or self._labels_only
        if call.wants_arrow:
            payload = arrow_stream(run, name, answer, labels_only=is_short)
        else:
            payload = payload_of(json_document(run, name, answer, labels_only=is_short))
        return PredictionReply(run=name, generation=answer.generation, payload=payload)

    def _name(self, name: str | None) -> str:
        if name is None and len(self._runs) == 1:
            return next(iter(self._runs))
        if name is None:
            raise Refused(422, f"name the run, as run: one of {', '.join(self._runs)}")
        known_run(self._runs, name)
        return name


def known_run(runs: Mapping[str, Named], name: str) -> Named:
    """Return the run of a name. Raises Refused."""
    if name not in runs:
        raise Refused(404, f"no run of this service has that name; it has {', '.join(runs)}")
    return runs[name]


def _samples(run: Run, body: bytes) -> Rows:
    try:
        table = read_stream(body)
    except MessageInvalid as error:
        raise Refused(400, f"the body is no Arrow stream: {error}") from error
    return samples_of_table(run, table)


def _flag(name: str, text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise Refused(422, f"{name} is true or false")
    return text.lower() in _TRUE


def is_arrow(media_type: bytes) -> bool:
    """Return whether a body is an Arrow stream."""
    return media_type == MEDIA_TYPE.encode()
