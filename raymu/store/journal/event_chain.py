"""The journal's events as they are kept: each sealed, and chained to the one before it."""

import hashlib
import hmac
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, TypeAdapter, ValidationError

from raymu.core.events import Event
from raymu.errors import RunFormatTooNew


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainHead:
    """The last event of a journal: its sequence, from 1, and its seal."""

    sequence: int
    seal: str


BEGINNING = ChainHead(sequence=0, seal="")
"""Of a journal without events."""


def next_head(before: ChainHead, payload: str, key: bytes) -> ChainHead:
    """The head after an event: one that is changed, taken out or put elsewhere breaks every seal from there on."""
    sequence = before.sequence + 1
    message = f"{sequence}\n{before.seal}\n{payload}".encode()
    return ChainHead(sequence=sequence, seal=hmac.new(key, message, hashlib.sha256).hexdigest())


def read_event(payload: str, sequence: int) -> Event:
    """An event whose seal holds. Raises RunFormatTooNew where a newer raymu wrote it."""
    try:
        event: Event = _events().validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunFormatTooNew(
            f"journal event {sequence}",
            f"was written by a newer raymu ({f'{where}: ' if where else ''}{first['msg']}); update raymu",
        ) from error
    return event


@cache
def _events() -> TypeAdapter[Any]:
    # A field that is not known is as bad as a kind that is not: what it says would be left undone.
    return TypeAdapter(Annotated[Event, Discriminator("kind")], config=ConfigDict(extra="forbid"))
