"""A client of the service that takes little of the processor beside it: one connection, one call at a time."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered."""

    status: int
    """The HTTP status."""
    document: Any
    """The body, read as JSON."""


class HttpClient:
    """One connection to the service, which is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "HttpClient":
        """Connect to a service on this machine. Raises OSError."""
        return cls(*await asyncio.open_connection(HOST, port))

    async def post(self, path: str, document: Mapping[str, Any], *, key: str | None = None) -> Answer:
        """Send a document and return the answer.

        Args:
            path: The path of the route.
            document: The body.
            key: The idempotency key.

        Raises:
            OSError: The connection broke.
        """
        body = json.dumps(document).encode()
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: {HOST}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if key is not None:
            head.append(f"Idempotency-Key: {key}")
        return await self._call(head, body)

    async def post_bytes(self, path: str, body: bytes, *, kind: str) -> bytes:
        """Send a body of a kind, and return the body of the same kind that answers it. Raises OSError, ValueError.

        Args:
            path: The path of the route.
            body: The body.
            kind: Its media type.
        """
        head = [f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Content-Type: {kind}", f"Accept: {kind}"]
        status, answer = await self._exchange([*head, f"Content-Length: {len(body)}"], body)
        if status != 200:
            raise ValueError(f"the service answered {status}: {answer!r}")
        return answer

    async def get(self, path: str) -> Answer:
        """Return the answer to GET. Raises OSError."""
        return await self._call([f"GET {path} HTTP/1.1", f"Host: {HOST}"], b"")

    async def _call(self, head: list[str], body: bytes) -> Answer:
        status, answer = await self._exchange(head, body)
        return Answer(status, json.loads(answer))

    async def _exchange(self, head: list[str], body: bytes) -> tuple[int, bytes]:
        self._writer.write("\r\n".join([*head, "", ""]).encode() + body)
        try:
            answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
            return int(answer[9:12]), await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the service left in the middle of an answer") from error

    def close(self) -> None:
        self._writer.close()
