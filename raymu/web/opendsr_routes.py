"""The routes of OpenDSR 2.0. Every answer is signed but the certificate, and what is refused before a route is reached."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from raymu.errors import RequestInvalid
from raymu.text import one_line
from raymu.web.opendsr import OpenDsr
from raymu.web.opendsr_documents import API_VERSION, read_body
from raymu.web.opendsr_requests import DsrRequest
from raymu.web.tokens import Right

_NOBODY = "controller"
"""What a controller without a token is called."""
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


def opendsr_routes(opendsr: OpenDsr, needs: Callable[[Right], Callable[[Request], Awaitable[None]]]) -> APIRouter:
    """Return the routes.

    Args:
        opendsr: What answers.
        needs: Returns the check that a caller has a right.
    """
    routes = APIRouter(prefix="/v2", default_response_class=Response)

    def signed(document: Mapping[str, Any], status: int = 200) -> Response:
        body = json.dumps(document).encode()
        return Response(body, status, opendsr.signature.headers(body), "application/json")

    def refused(problem: str, status: int = 400) -> Response:
        detail = {"domain": "raymu", "reason": "Refused", "message": problem}
        return signed({"error": {"code": status, "message": problem, "errors": [detail]}}, status)

    def controller_of(request: Request) -> str:
        token = request.state.token
        return token.name if token else _NOBODY

    async def request_of(request: Request, subject_request_id: str) -> DsrRequest | None:
        found_request = await asyncio.to_thread(opendsr.find, controller_of(request), subject_request_id)
        request.state.request_ids += found_request.request_ids if found_request else []
        return found_request

    @routes.get("/discovery")
    async def read_discovery() -> Response:
        """Say which identities and requests are supported, and where the certificate is."""
        return signed(opendsr.discovery())

    @routes.get("/certificate")
    async def read_certificate() -> Response:
        """Return the certificate that answers and callbacks are signed with, as PEM."""
        return Response(opendsr.signature.certificate, media_type="application/x-pem-file")

    @routes.post("/requests", status_code=201, dependencies=[Depends(needs(Right.REVOKE))], openapi_extra=_BODY)
    async def make_dsr_request(request: Request) -> Response:
        """Accept an erasure. It is committed, and will be carried out, once this answers 201."""
        payload = await request.body()
        try:
            body = read_body(payload, opendsr.config)
            accepted = await opendsr.accept(body, controller_of(request))
        except RequestInvalid as refusal:
            return refused(one_line(refusal))
        request.state.request_ids += accepted.request_ids
        encoded = base64.b64encode(payload).decode()
        return signed(accepted.document(received_time=accepted.received_at, encoded_request=encoded), 201)

    @routes.get("/requests/{subject_request_id}", dependencies=[Depends(needs(Right.READ))])
    @routes.get("/status/{subject_request_id}", dependencies=[Depends(needs(Right.READ))])
    async def read_dsr_request(subject_request_id: str, request: Request) -> Response:
        """Say how far an erasure has come."""
        known = await request_of(request, subject_request_id)
        if known is None:
            return refused("there is no such request of this controller", 404)
        return signed(known.document(request_status=known.status, api_version=API_VERSION))

    @routes.delete("/requests/{subject_request_id}", dependencies=[Depends(needs(Right.REVOKE))])
    async def cancel_dsr_request(subject_request_id: str, request: Request) -> Response:
        """Refuse to cancel an erasure: whatever was accepted is carried out."""
        known = await request_of(request, subject_request_id)
        if known is None:
            return refused("there is no such request of this controller", 404)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return refused(f"the request is {known.status} at {now}, and cannot be cancelled: an accepted erasure is final")

    return routes
