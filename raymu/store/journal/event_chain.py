"""The events of a journal as they are stored: each sealed, and chained to the one before it."""

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
    """The last event of a journal."""

    sequence: int
    """Number of the event, from 1."""
    seal: str
    """Hex HMAC-SHA256 over the event and the seal before it."""

    @property
    def anchor(self) -> str:
        """One line that stands for the whole journal up to this event."""
        return f"{self.sequence}:{self.seal}"

    @classmethod
    def parse(cls, anchor: str) -> "ChainHead":
        """Read an anchor. Raises ValueError."""
        sequence, _, seal = anchor.partition(":")
        if not (sequence.isascii() and sequence.isdigit() and len(sequence) < 16 and seal):
            raise ValueError(f"{anchor!r} is not an anchor")
        return cls(sequence=int(sequence), seal=seal)


BEGINNING = ChainHead(sequence=0, seal="")
"""The head of a journal without events."""


def next_head(before: ChainHead, payload: str, key: bytes) -> ChainHead:
    """Return the head after an event. An event that is changed, removed or moved breaks every later seal."""
    sequence = before.sequence + 1
    message = f"{sequence}\n{before.seal}\n{payload}".encode()
    return ChainHead(sequence=sequence, seal=hmac.new(key, message, hashlib.sha256).hexdigest())


def snapshot_seal(head: ChainHead, payload: str, key: bytes) -> str:
    """Return the seal of a snapshot: hex HMAC-SHA256 over it, and over the event that it follows."""
    message = f"snapshot\n{head.sequence}\n{head.seal}\n{payload}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def read_event(payload: str, sequence: int) -> Event:
    """Read an event whose seal is valid. Raises RunFormatTooNew if a newer raymu wrote it."""
    try:
        event: Event = _events().validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RunFormatTooNew(
            f"journal event {sequence}",
            f"was written by a newer raymu ({f'{field}: ' if field else ''}{first['msg']}); update raymu",
        ) from error
    return event


@cache
def _events() -> TypeAdapter[Any]:
    # An unknown field is as bad as an unknown kind: ignoring it would leave its meaning undone.
    return TypeAdapter(Annotated[Event, Discriminator("kind")], config=ConfigDict(extra="forbid"))
