"""The route of predictions: JSON or Arrow in, JSON or Arrow out."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Request, Response

from raymu.data.rows import Rows
from raymu.web.arrow_messages import MessageInvalid
from raymu.web.arrow_stream import MEDIA_TYPE, read_stream
from raymu.web.bodies import DirectRoute, body_document, json_answer, read_body, read_json
from raymu.web.documents import PredictionAnswer, PredictionBody
from raymu.web.predicting import (
    Predictor,
    arrow_stream,
    json_document,
    samples_of_document,
    samples_of_table,
)
from raymu.web.refusals import Refused, media_type_of
from raymu.web.served_run import ServedRun
from raymu.web.tokens import Right

_TRUE, _FALSE = ("true", "1"), ("false", "0")
_PARAMETERS = [
    {"name": "run", "in": "query", "schema": {"type": "string", "maxLength": 256}},
    {"name": "labels_only", "in": "query", "schema": {"type": "boolean"}},
]
_ANSWERS = {
    200: {
        "model": PredictionAnswer,
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        "description": "Predictions, all of one generation.",
    }
}


def prediction_route(
    served_runs: Mapping[str, ServedRun],
    *,
    run_of: Callable[[str | None], ServedRun],
    require: Callable[[Request, Right], None],
    labels_only: bool,
) -> APIRouter:
    """Return the route.

    Args:
        served_runs: Name -> run.
        run_of: Returns a run by its name, or the only one.
        require: Refuses callers without a right.
        labels_only: Whether predictions have no probabilities, whatever callers ask for.
    """
    router = APIRouter(route_class=DirectRoute)
    predictors = {name: Predictor(served.run) for name, served in served_runs.items()}

    @router.post(
        "/v1/predictions",
        responses=_ANSWERS,  # type: ignore[arg-type]
        openapi_extra={**body_document(PredictionBody, MEDIA_TYPE), "parameters": _PARAMETERS},
    )
    async def make_predictions(request: Request) -> Response:
        """Predict samples. All predictions are of one generation, which is named.

        An Arrow stream has the samples in its columns, and takes `run` and `labels_only` from the query.
        """
        require(request, Right.PREDICT)
        body = await request.body()
        if media_type_of(request.scope) == MEDIA_TYPE.encode():
            served = run_of(request.query_params.get("run"))
            is_short = _flag(request, "labels_only")
            samples: Rows = await read_body(body, lambda payload: _samples(served, payload))
        else:
            document = await read_body(body, read_json(PredictionBody))
            served, is_short = run_of(document.run), document.labels_only
            samples = await read_body(body, lambda _payload: samples_of_document(served.run, document))
        answer = await predictors[served.name].predict(samples)
        if _wants_arrow(request):
            payload = arrow_stream(served.run, served.name, answer, labels_only=labels_only or is_short)
            return Response(payload, headers={"Raymu-Generation": str(answer.generation)}, media_type=MEDIA_TYPE)
        return json_answer(json_document(served.run, served.name, answer, labels_only=labels_only or is_short))

    return router


def _samples(served: ServedRun, body: bytes) -> Rows:
    try:
        table = read_stream(body)
    except MessageInvalid as error:
        raise Refused(400, f"the body is no Arrow stream: {error}") from error
    return samples_of_table(served.run, table)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false").lower()
    if text not in (*_TRUE, *_FALSE):
        raise Refused(422, f"{name} is true or false")
    return text in _TRUE


def _wants_arrow(request: Request) -> bool:
    kinds = request.headers.get("accept", "").split(",")
    return any(kind.partition(";")[0].strip().lower() == MEDIA_TYPE for kind in kinds)
