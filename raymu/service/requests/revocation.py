"""Requests as users write them, and the result of each."""

from dataclasses import dataclass
from datetime import datetime

from raymu.core.records import SampleId
from raymu.errors import RaymuError, RequestInvalid
from raymu.text import one_line

MAX_KEY_LENGTH = 200


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

    def __post_init__(self) -> None:
        """Check the request. Raises RequestInvalid."""
        for text in (*self.ids, self.owner, self.key):
            if isinstance(text, str) and not _is_unicode(text):
                raise RequestInvalid(f"{one_line(repr(text))} is not UTF-8 text; name it as the data do")
        if self.key is not None and not 0 < len(self.key) <= MAX_KEY_LENGTH:
            raise RequestInvalid(f"a key of {len(self.key)} letters is refused; give 1 to {MAX_KEY_LENGTH}, or no key")
        if self.due is not None and self.due.tzinfo is None:
            raise RequestInvalid(f"due {self.due} names no time zone; give one")


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionResult:
    """The result of one request of a submission."""

    request_id: str | None = None
    """The id of the accepted request."""
    refusal: RaymuError | None = None
    """Why the request was refused."""


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written. Command line bytes that are not UTF-8 become lone surrogates, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
