"""What a user asks: samples by id, or all samples of an owner."""

from dataclasses import dataclass
from datetime import datetime

from raymu.core.records import SampleId
from raymu.errors import RaymuError, RequestInvalid
from raymu.text import one_line

_LONGEST_KEY = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Revocation:
    """What a user asks: samples by id, or all samples of an owner. What is None comes from the run's configuration."""

    ids: tuple[SampleId, ...] = ()
    owner: SampleId | None = None
    strategy: str | None = None
    boundary: float | str | None = None
    due: datetime | None = None
    key: str | None = None
    """Idempotency key: the same key and payload give the same receipt."""

    def __post_init__(self) -> None:
        """Raises RequestInvalid."""
        for text in (*self.ids, self.owner, self.key):
            if isinstance(text, str) and not _is_unicode(text):
                raise RequestInvalid(f"{one_line(repr(text))} is no UTF-8 text; name it as the data do")
        if self.key is not None and not 0 < len(self.key) <= _LONGEST_KEY:
            raise RequestInvalid(f"a key of {len(self.key)} letters is refused; give 1 to {_LONGEST_KEY}, or no key")
        if self.due is not None and self.due.tzinfo is None:
            raise RequestInvalid(f"due {self.due} names no time zone; give one")


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionResult:
    """What each request of a submission is told: the id under which it is accepted, or why it is refused."""

    request_id: str | None = None
    refusal: RaymuError | None = None


def _is_unicode(text: str) -> bool:
    """Bytes of a command line that are no UTF-8 come as lone surrogates, which nothing can be told to write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
