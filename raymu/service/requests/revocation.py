"""Requests as users write them, and the result of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from raymu.core.records import SampleId
from raymu.data.date_text import LAST_DUE
from raymu.errors import RaymuError, RequestInvalid, SamplesRevoked, UnknownOwner, UnknownSamples
from raymu.text import one_line, plural

MAX_KEY_LENGTH = 200
_FIRST = datetime(2, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Revocation:
    """A request to revoke samples by id, or all samples of an owner. What is None comes from the run's configuration."""

    ids: tuple[SampleId, ...] = ()
    owner: SampleId | None = None
    strategy: str | None = None
    boundary: float | str | None = None
    due: datetime | None = None
    key: str | None = None
    """Idempotency key: the same key and payload give the same receipt."""
    ignore_unknown: bool = False
    """Whether ids that the run does not hold, or that are revoked already, are left out instead of refused."""

    def __post_init__(self) -> None:
        """Check the request. Raises RequestInvalid."""
        for text in (*self.ids, self.owner, self.key):
            if isinstance(text, str) and not _is_unicode(text):
                raise RequestInvalid(f"{one_line(repr(text))} is not UTF-8 text; name it as the data do")
        if self.key is not None and not 0 < len(self.key) <= MAX_KEY_LENGTH:
            raise RequestInvalid(f"a key of {len(self.key)} letters is refused; give 1 to {MAX_KEY_LENGTH}, or no key")
        if self.due is not None and not isinstance(self.due, datetime):
            raise RequestInvalid(f"due {one_line(repr(self.due))} is not a time; give a datetime with a time zone")
        if self.due is not None and self.due.tzinfo is None:
            raise RequestInvalid(f"due {self.due} names no time zone; give one")
        if self.due is not None and not _FIRST < self.due <= LAST_DUE:
            raise RequestInvalid(f"due {self.due} is beyond the years that can be shown in every zone; leave it out")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignored:
    """The part of a request that is left out, because the request allows it."""

    revoked: int = 0
    """Ids that earlier requests revoked."""
    request_ids: tuple[str, ...] = ()
    """These requests."""
    unknown: int = 0
    """Ids that the run does not hold."""
    unknown_shown: tuple[str, ...] = ()
    """The first of them, in the order of their text."""
    repeated: int = 0
    """Ids that were named more than once."""

    def __str__(self) -> str:
        parts = []
        if self.revoked:
            parts.append(f"{plural(self.revoked, 'id')} revoked already, by request {some_of(self.request_ids)}")
        if self.unknown:
            parts.append(f"{plural(self.unknown, 'unknown id')} ({some_of(self.unknown_shown, self.unknown)})")
        if self.repeated:
            parts.append(f"{plural(self.repeated, 'id')} named twice")
        return "; ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionResult:
    """The result of one request of a submission."""

    request_id: str | None = None
    """The id of the accepted request."""
    refusal: RaymuError | None = None
    """Why the request was refused."""
    ignored: Ignored | None = None
    """What an accepted request left out; None if nothing."""
    came_overdue: bool = False
    """Whether an accepted request was due before it came."""

    @property
    def is_absent(self) -> bool:
        """Whether the request was refused only because all that it names is unknown or revoked already."""
        faults = getattr(self.refusal, "faults", (self.refusal,))
        return all(isinstance(fault, UnknownSamples | UnknownOwner | SamplesRevoked) for fault in faults)

    @property
    def earlier_requests(self) -> tuple[str, ...]:
        """The requests that revoked some of its samples before."""
        return self.ignored.request_ids if self.ignored else tuple(getattr(self.refusal, "request_ids", ()))


def listed_ids(ids: Sequence[SampleId]) -> tuple[SampleId, ...]:
    """Return ids as a request has them. Raises RequestInvalid for text, which would pass as a list of its letters."""
    if isinstance(ids, str | int):
        raise RequestInvalid(f"ids is {one_line(repr(ids))}; give a list of ids")
    return tuple(ids)


def some_of(texts: Sequence[str], count: int | None = None) -> str:
    """Return the first three of some texts, in one line. count: how many there are, if these are not all"""
    return one_line(", ".join(texts[:3])) + (", ..." if (count or len(texts)) > 3 else "")


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written. Command line bytes that are not UTF-8 become lone surrogates, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
