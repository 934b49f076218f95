"""The HTTP application of the service: its routes, and what they answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from raymu.core.receipt import Receipt
from raymu.errors import RaymuError
from raymu.service.requests.revocation import MAX_KEY_LENGTH, Revocation
from raymu.service.waiting_group import GroupWait
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from raymu.text import one_line
from raymu.web.access_log import AccessLog
from raymu.web.bodies import DirectRoute, body_document, describe_bodies, json_answer, read_body, read_json
from raymu.web.documents import (
    GroupState,
    PredictionBody,
    Problem,
    RequestAnswer,
    RequestBody,
    RequestState,
    RunOutcome,
)
from raymu.web.guards import Guard, Limits
from raymu.web.metrics import ServiceMetrics
from raymu.web.opendsr import OpenDsr
from raymu.web.opendsr_routes import opendsr_routes
from raymu.web.page_content import PageContent
from raymu.web.pages import add_pages
from raymu.web.prediction_route import AnswerCall, prediction_route
from raymu.web.predictors import Predictors, known_run
from raymu.web.problems import refusal_of
from raymu.web.refusals import Refused
from raymu.web.served_run import ServedRun
from raymu.web.submission import outcome_of, status_of, submit
from raymu.web.tokens import RIGHTS, Right, Tokens

_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
}


def build_app(
    served_runs: Mapping[str, ServedRun],
    *,
    tokens: Tokens,
    log: AccessLog,
    limits: Limits,
    metrics: ServiceMetrics,
    is_open: bool,
    audits: Sequence[Path] = (),
    opendsr: OpenDsr | None = None,
    labels_only: bool = False,
    predict: AnswerCall | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        served_runs: Name -> run.
        tokens: The tokens of callers.
        log: Where calls are written.
        limits: Limits of what callers may send.
        metrics: The metrics that are read at /metrics.
        is_open: Whether callers without a token may do everything until the first token is valid, as on the loopback device.
        audits: Results of audits, which the pages of their runs show.
        opendsr: What answers requests of OpenDSR; None does not speak it.
        labels_only: Whether predictions have no probabilities, whatever callers ask for.
        predict: Answers calls for predictions elsewhere; None answers them in this process.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(metrics.refresh)  # counters begin before the first request
        for served in served_runs.values():
            served.begin()
        try:
            yield
        finally:
            await asyncio.gather(*(served.close() for served in served_runs.values()))
            log.close()

    app = FastAPI(
        title="raymu",
        description="Deletion requests, receipts and predictions of models whose samples can be taken out again.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        responses=_PROBLEMS,
    )
    app.add_middleware(Guard, tokens=tokens, log=log, limits=limits, is_open=is_open)

    def needs(right: Right) -> Callable[[Request], Awaitable[None]]:
        async def check(request: Request) -> None:  # not a plain function, which would be called in a thread each time
            require(request, right)

        return check

    requests = APIRouter(route_class=DirectRoute)

    @requests.post(
        "/v1/requests",
        status_code=202,
        response_model=RequestAnswer,
        responses={200: {"model": RequestAnswer, "description": "All of it was revoked before."}},
        openapi_extra={**body_document(RequestBody), "parameters": [_KEY_PARAMETER]},
    )
    async def make_request(request: Request) -> Response:
        """Accept a deletion. It is committed, and will be carried out, once this answers 202."""
        require(request, Right.REVOKE)
        body = await read_body(await request.body(), read_json(RequestBody, unique_names=True))
        revocation = body.revocation(_key_of(request))
        chosen = [known_run(served_runs, body.run)] if body.run is not None else list(served_runs.values())
        results = await submit(chosen, revocation)
        outcomes = [outcome_of(served.name, result) for served, result in zip(chosen, results, strict=True)]
        request.state.request_ids += [outcome.request_id for outcome in outcomes if outcome.request_id]
        status = status_of(outcomes, results)
        if status >= 400 and not any(outcome.status == "accepted" for outcome in outcomes):
            problem = "; ".join(f"{outcome.run}: {outcome.problem}" for outcome in outcomes if outcome.problem)
            return JSONResponse({"error": problem, **RequestAnswer(runs=outcomes).model_dump()}, status)
        location = next((outcome.location for outcome in outcomes if outcome.location), None)
        return json_answer(RequestAnswer(runs=outcomes), status, {"Location": location} if location else None)

    app.include_router(requests)

    @app.get("/v1/requests/{request_id}", dependencies=[Depends(needs(Right.READ))])
    async def read_request(request_id: str, request: Request) -> RequestState:
        """Say how far a request has come."""
        served, receipt, wait = await asyncio.to_thread(_find_request, served_runs, request_id)
        request.state.request_ids.append(receipt.request_id)
        return _state(served.name, receipt, wait)

    @app.get("/v1/receipts/{request_id}", dependencies=[Depends(needs(Right.READ))])
    async def read_receipt(request_id: str, request: Request) -> dict[str, Any]:
        """Return the last receipt of a request, as it was signed."""
        served, receipt, _ = await asyncio.to_thread(_find_request, served_runs, request_id)
        request.state.request_ids.append(receipt.request_id)
        documents = await asyncio.to_thread(served.run.signed_receipts, [receipt.request_id])
        if not documents:
            raise Refused(404, "the request has no receipt yet: it is issued once its samples are purged")
        return documents[0]

    @app.get("/v1/status", dependencies=[Depends(needs(Right.OBSERVE))])
    async def read_status() -> dict[str, Any]:
        """Return shards, requests, debt and deadlines of every run."""
        statuses = await asyncio.gather(*(asyncio.to_thread(served.run.status) for served in served_runs.values()))
        return {"runs": {name: to_tree(status) for name, status in zip(served_runs, statuses, strict=True)}}

    runs = {name: served.run for name, served in served_runs.items()}
    answer_call = predict or Predictors(runs, labels_only=labels_only).answer
    app.include_router(prediction_route(answer_call, require=require))

    @app.get("/healthz")
    async def read_health() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "up"}

    @app.get("/readyz")
    async def read_readiness(response: Response) -> dict[str, Any]:
        """Say whether every run was opened, so that requests are carried out."""
        waiting = [name for name, served in served_runs.items() if not served.is_ready]
        response.status_code = 503 if waiting else 200
        return {"status": "waiting" if waiting else "ready", "waiting": waiting}

    @app.get("/metrics", dependencies=[Depends(needs(Right.OBSERVE))])
    async def read_metrics() -> Response:
        """Return the metrics, as Prometheus reads them."""
        await asyncio.to_thread(metrics.refresh)
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def outcomes_at(chosen: Sequence[ServedRun], revocation: Revocation) -> list[RunOutcome]:
        results = await submit(chosen, revocation)
        return [outcome_of(served.name, result) for served, result in zip(chosen, results, strict=True)]

    stores = {name: RunStore(served.run.location, trust=served.run.trust) for name, served in served_runs.items()}
    content = PageContent(stores, audits)
    add_pages(app, served_runs, content=content, tokens=tokens, submit=outcomes_at)
    if opendsr is not None:
        app.include_router(opendsr_routes(opendsr, needs))

    describe_bodies(app, RequestBody, PredictionBody)

    @app.exception_handler(Refused)
    @app.exception_handler(RequestValidationError)
    @app.exception_handler(RaymuError)
    async def answer_refusal(_request: Request, error: Exception) -> JSONResponse:
        refusal = refusal_of(error)
        assert refusal is not None, "these are the kinds that it knows"
        headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
        return JSONResponse({"error": refusal.problem}, refusal.status, headers)

    @app.exception_handler(HTTPException)
    async def answer_http_error(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": one_line(error.detail)}, error.status_code, error.headers)

    return app


def require(request: Request, right: Right) -> None:
    """Refuse a call whose caller does not have a right."""
    role = request.state.role
    if role is None:
        raise Refused(401, "a valid token is needed, as Authorization: Bearer TOKEN")
    if right not in RIGHTS[role]:
        raise Refused(403, f"a token of the role {role} may not do this")


def _key_of(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
        raise Refused(422, f"Idempotency-Key: give 1 to {MAX_KEY_LENGTH} letters, or no key")
    return key


def _find_request(served_runs: Mapping[str, ServedRun], request_id: str) -> tuple[ServedRun, Receipt, GroupWait | None]:
    for served in served_runs.values():
        receipts, waits = served.run.receipts_and_waits([request_id])
        for receipt in receipts:
            return served, receipt, waits.get(request_id)
    raise Refused(404, "no run of this service has such a request")


def _state(run: str, receipt: Receipt, wait: GroupWait | None) -> RequestState:
    return RequestState(
        group=None if wait is None else GroupState(**to_tree(wait)),
        run=run,
        request_id=receipt.request_id,
        stage=str(receipt.stage),
        exactness=None if receipt.exactness is None else str(receipt.exactness),
        samples=receipt.samples,
        strategy=receipt.strategy,
        received_at=receipt.received_at,
        due_at=receipt.due_at,
        due_met=receipt.due_met,
        rewound_at=receipt.rewound_at,
        published_at=receipt.published_at,
        purged_at=receipt.purged_at,
        settled_at=receipt.settled_at,
        has_receipt=receipt.purged_at is not None,
    )
