"""Bodies of programs' calls, read without the detours of FastAPI, and described in the OpenAPI document all the same."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

Body = TypeVar("Body", bound=BaseModel)
Value = TypeVar("Value")

AT_ONCE_BYTES = 256 * 1024
"""Longer bodies are read in a thread, so that other calls are answered meanwhile."""


class DirectRoute(APIRoute):
    """A route whose function takes the call and returns the answer: nothing is done in between."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


async def read_body(body: bytes, read: Callable[[bytes], Value]) -> Value:
    """Read a body: a long one in a thread. Raises what `read` raises."""
    return await asyncio.to_thread(read, body) if len(body) > AT_ONCE_BYTES else read(body)


def read_json(kind: type[Body], *, unique_names: bool = False) -> Callable[[bytes], Body]:
    """Return a function that reads a JSON body of a kind. It raises RequestValidationError.

    Args:
        kind: What the body is.
        unique_names: Refuse an object that has a name twice. Readers of JSON disagree on which of the two counts, so a value
            that was pasted into a template could replace another.
    """

    def read(body: bytes) -> Body:
        try:
            if unique_names:
                json.loads(body, object_pairs_hook=_unique)
        except _NameRepeated as error:
            problem = {"type": "repeated_name", "loc": ("body",), "msg": "an object has a name twice"}
            raise RequestValidationError([problem]) from error
        except (ValueError, RecursionError):
            pass  # the reader below says what is wrong
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False, include_context=False)
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in errors]) from error

    return read


class _NameRepeated(Exception):
    """An object of a JSON document has a name twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise _NameRepeated
    return names


def json_answer(document: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with a document."""
    return Response(payload_of(document), status, headers, media_type="application/json")


def payload_of(document: BaseModel) -> bytes:
    """Return a document as JSON."""
    return document.__pydantic_serializer__.to_json(document)


def body_document(kind: type[BaseModel], *others: str) -> dict[str, Any]:
    """Describe the body of a direct route, for its `openapi_extra`.

    Args:
        kind: What JSON bodies are.
        others: Other media types that it takes.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}
    content |= {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in others}
    return {"requestBody": {"required": True, "content": content}}


def describe_bodies(app: FastAPI, *kinds: type[BaseModel]) -> None:
    """Add bodies of direct routes to the OpenAPI document of an application."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = described()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for kind in kinds:
                schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {})
                schemas[kind.__name__] = schema
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
