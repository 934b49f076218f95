"""The requests of OpenDSR 2.0 as controllers send them, and the deletions that they mean."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StrictStr, ValidationError

from raymu.errors import RequestInvalid
from raymu.service.requests.revocation import Revocation
from raymu.text import one_line
from raymu.web.protocol_settings import LONGEST_URL, IdentityConfig, OpenDsrConfig, url_problem

API_VERSION = "2.0"
MOST_BYTES = 262_144
"""Bytes of a request."""
MOST_IDENTITIES, MOST_CALLBACKS = 100, 10
_DAYS = {"gdpr": 30, "ccpa": 45}
"""Days from a subject's request until it has to be fulfilled, by regulation."""
_AHEAD = timedelta(days=1)
"""How far the clock of a controller may be ahead."""


def _version_4(text: str) -> str:
    parsed = UUID(text)  # raises ValueError
    if parsed.version != 4 or str(parsed) != text:
        raise ValueError("must be a lowercase UUID of version 4")
    return text


SubjectRequestId = Annotated[StrictStr, AfterValidator(_version_4)]


class _Identity(BaseModel):
    identity_type: Annotated[StrictStr, Field(max_length=256)]
    identity_value: Annotated[StrictStr, Field(min_length=1, max_length=4_096)]
    identity_format: Annotated[StrictStr, Field(max_length=256)]


class DsrBody(BaseModel):
    """A request. What the specification leaves to others, such as extensions, is not read."""

    regulation: Literal["gdpr", "ccpa"]
    subject_request_id: SubjectRequestId
    subject_request_type: Annotated[StrictStr, Field(max_length=256)]
    subject_identities: Annotated[list[_Identity], Field(min_length=1, max_length=MOST_IDENTITIES)]
    submitted_time: AwareDatetime
    status_callback_urls: Annotated[
        list[Annotated[StrictStr, Field(max_length=LONGEST_URL)]], Field(max_length=MOST_CALLBACKS)
    ] = []

    @property
    def due_at(self) -> datetime:
        """When the deletion has to be exact. It depends on the request alone, so that a repetition is the same request."""
        return self.submitted_time.astimezone(UTC) + timedelta(days=_DAYS[self.regulation])

    def revocations(self, known: Collection[IdentityConfig], *, controller: str) -> Sequence[Revocation]:
        """Return the deletions, one for each identity that is understood. Raises RequestInvalid if none is.

        Args:
            known: The identities that are understood.
            controller: Who sent the request. Others may use the same subject_request_id.
        """
        kinds: dict[tuple[str, str], IdentityConfig] = {(config.type, config.format): config for config in known}
        revocations = []
        for number, identity in enumerate(self.subject_identities):
            config = kinds.get((identity.identity_type, identity.identity_format))
            if config is None:
                continue
            is_id = config.names == "id"
            revocations.append(
                Revocation(
                    ids=(identity.identity_value,) if is_id else (),
                    owner=None if is_id else identity.identity_value,
                    due=self.due_at,
                    key=f"opendsr/{controller}/{self.subject_request_id}/{number}",
                )
            )
        if not revocations:
            raise RequestInvalid("subject_identities has no type and format that /v2/discovery names")
        return revocations


def read_body(payload: bytes, config: OpenDsrConfig) -> DsrBody:
    """Read a request, and refuse what cannot be honoured. Raises RequestInvalid, without a word of any identity."""
    if len(payload) > MOST_BYTES:
        raise RequestInvalid(f"a request has at most {MOST_BYTES:,} bytes")
    try:
        body = DsrBody.model_validate_json(payload)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "nested too deep"}
        place = ".".join(str(part) for part in first["loc"])
        raise RequestInvalid(one_line(f"{place}: {first['msg']}".removeprefix(": "))) from error
    if body.subject_request_type != "erasure":
        raise RequestInvalid("only requests of the type erasure are supported: the service holds no data to hand out")
    try:
        is_ahead = body.submitted_time > datetime.now(UTC) + _AHEAD
        _ = body.due_at
    except (OverflowError, ValueError):
        is_ahead = True
    if is_ahead:
        raise RequestInvalid("submitted_time is not a time until now")
    for url in body.status_callback_urls:
        if problem := url_problem(url, is_private_allowed=config.private_addresses):
            raise RequestInvalid(f"status_callback_urls: a URL {problem}")
    return body
