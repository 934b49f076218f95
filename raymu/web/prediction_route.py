"""The route of predictions: JSON or Arrow in, JSON or Arrow out."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from fastapi import APIRouter, Request, Response

from raymu.web.arrow_stream import MEDIA_TYPE
from raymu.web.bodies import DirectRoute, body_document
from raymu.web.documents import PredictionAnswer, PredictionBody
from raymu.web.predictors import PredictionCall, PredictionReply, is_arrow
from raymu.web.refusals import media_type_of
from raymu.web.tokens import Right

AnswerCall: TypeAlias = Callable[[PredictionCall], Awaitable[PredictionReply]]

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


def prediction_route(answer_call: AnswerCall, *, require: Callable[[Request, Right], None]) -> APIRouter:
    """Return the route.

    Args:
        answer_call: Answers a call, in this process or elsewhere.
        require: Refuses callers without a right.
    """
    router = APIRouter(route_class=DirectRoute)

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
        query = request.query_params
        call = PredictionCall(
            body=await request.body(),
            is_arrow=is_arrow(media_type_of(request.scope)),
            wants_arrow=_wants_arrow(request),
            run=query.get("run"),
            labels_only=query.get("labels_only", "false"),
        )
        reply = await answer_call(call)
        if call.wants_arrow:
            return Response(reply.payload, headers={"Raymu-Generation": str(reply.generation)}, media_type=MEDIA_TYPE)
        return Response(reply.payload, media_type="application/json")

    return router


def _wants_arrow(request: Request) -> bool:
    kinds = request.headers.get("accept", "").split(",")
    return any(kind.partition(";")[0].strip().lower() == MEDIA_TYPE for kind in kinds)
