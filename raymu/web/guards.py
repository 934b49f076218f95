"""What stands before every call on the service: limits of bodies and of rates, rights of callers, and the access log."""

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raymu.web.access_log import AccessLog
from raymu.web.refusals import media_type_of
from raymu.web.tokens import Role, Token, Tokens

Respond: TypeAlias = Callable[[int, str], Awaitable[None]]
PREDICTIONS = "/v1/predictions"
DESCRIPTION = "/openapi.json"
"""A route of FastAPI's own, which does not say its path."""
ARROW = b"application/vnd.apache.arrow.stream"
COOKIE = "raymu_token"
"""The cookie that keeps the token of a person at a browser."""
_FOR_PEOPLE = ("/requests", "/runs/", "/find", "/sign-in", "/sign-out")
"""Routes of pages. Only they and the overview take a token from a cookie: a browser adds it to calls that no person meant."""
_WITH_BODY = ("POST", "PUT", "PATCH")
MOST_RATES = 10_000
"""Callers whose rate is kept. Beyond them the oldest is forgotten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of what callers may send."""

    body_bytes: int = 16 * 1024 * 1024
    calls_per_s: float | None = None
    """Calls of one caller in a second, on average; None for as many as the machine answers."""


class Guard:
    """Refuses bodies that are too long and callers that are too quick, and writes each call into the access log.

    It comes before everything else, so that what it refuses costs nothing. Whoever calls is found here once; the routes say
    which right they need.

    Pages of other sites can send forms and plain texts to this machine without being asked, but no JSON. So the routes for
    programs take no other body, except that of predictions, which takes an Arrow stream too.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, log: AccessLog, limits: Limits, is_open: bool) -> None:
        """Stand before an application.

        Args:
            app: The application.
            tokens: The tokens of callers.
            log: Where calls are written.
            limits: Limits of what callers may send.
            is_open: Whether callers without a token may do everything until the first token is valid.
        """
        self._app, self._tokens, self._log, self._limits = app, tokens, log, limits
        self._is_open = is_open
        self._rates: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        token, is_presented = self._token_of(scope)
        self._is_open = self._is_open and not self._tokens.has_any  # once closed, it stays so
        state["role"] = _role_of(token, is_open=self._is_open and not is_presented)
        state["token"] = token
        state["request_ids"] = []
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if _declared_bytes(scope) > self._limits.body_bytes:
                await _refuse(watched, 413, _too_long(self._limits.body_bytes))
            elif (wait_s := self._wait_s(token, scope)) > 0:
                await _refuse(watched, 429, "too many calls; wait, and call again", wait_s=wait_s)
            elif scope["method"] in _WITH_BODY and not _is_for_people(scope) and not _is_of_programs(scope):
                await _refuse(watched, 415, "the body is no JSON; send it with Content-Type: application/json")
            else:
                await self._app(scope, _limited(receive, self._limits.body_bytes), watched)
        finally:
            route = scope.get("route")
            self._log.write(
                caller=token.name if token else "",
                role=str(token.role) if token else "",
                method=scope["method"],
                route=getattr(route, "path", "") or (DESCRIPTION if scope["path"] == DESCRIPTION else "(none)"),
                status=status,
                seconds=time.perf_counter() - began,
                request_ids=state["request_ids"][:1000],
            )

    def _token_of(self, scope: Scope) -> tuple[Token | None, bool]:
        """Return the valid token of a call, None without one, and whether its header has any token."""
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                return self._tokens.find(value[7:].strip().decode("latin-1")), True
        if _is_for_people(scope):
            for name, value in scope["headers"]:
                if name == b"cookie" and (text := cookie_parser(value.decode("latin-1")).get(COOKIE)):
                    return self._tokens.find(text), False
        return None, False

    def _wait_s(self, token: Token | None, scope: Scope) -> float:
        """Return how long a caller has to wait; 0 if the call is within its rate (a token bucket of one second)."""
        rate = self._limits.calls_per_s
        if rate is None:
            return 0.0
        caller = token.name if token else str((scope.get("client") or ("",))[0])
        now = time.monotonic()
        left, seen = self._rates.pop(caller, (max(rate, 1.0), now))
        left = min(max(rate, 1.0), left + (now - seen) * rate)
        is_within = left >= 1.0
        self._rates[caller] = (left - 1.0 if is_within else left, now)
        if len(self._rates) > MOST_RATES:
            del self._rates[next(iter(self._rates))]
        return 0.0 if is_within else (1.0 - left) / rate


def _role_of(token: Token | None, *, is_open: bool) -> Role | None:
    """Return the role of a caller. is_open: whether callers without a token may do everything"""
    if token is not None:
        return token.role
    return Role.OPERATOR if is_open else None


def _is_for_people(scope: Scope) -> bool:
    return scope["path"] == "/" or scope["path"].startswith(_FOR_PEOPLE)


def _is_of_programs(scope: Scope) -> bool:
    """Return whether a body is of a kind that no page of another site can send without being asked."""
    kind = media_type_of(scope)
    if kind == ARROW and scope["path"] == PREDICTIONS:
        return True
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _limited(receive: Receive, most: int) -> Receive:
    """Return the body of a call, or raise HTTPException once it is longer than it may be."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413, _too_long(most))
        return message

    return limited


def _too_long(most: int) -> str:
    return f"the body is longer than {most:,} bytes"


async def _refuse(send: Send, status: int, problem: str, *, wait_s: float = 0.0) -> None:
    payload = json.dumps({"error": problem}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
    if wait_s:
        headers.append((b"retry-after", str(max(1, round(wait_s))).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})
