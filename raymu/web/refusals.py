"""Refusals of calls, and what the headers of a call say of its body."""

from starlette.types import Scope


class Refused(Exception):
    """A call that is answered with a problem."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status, self.problem = status, problem


def media_type_of(scope: Scope) -> bytes:
    """Return the media type of a body in small letters, without parameters; empty if the call names none."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind: bytes = value.partition(b";")[0].strip().lower()
            return kind
    return b""
