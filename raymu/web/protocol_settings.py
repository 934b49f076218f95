"""Settings of the protocols that the service speaks beside its own: webhooks, and OpenDSR."""

import base64
import binascii
from collections import Counter
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from raymu.config.fields import STRICT, Name
from raymu.config.validation_errors import format_validation_error
from raymu.config.yaml_file import read_settings
from raymu.errors import ConfigInvalid
from raymu.input_file import read_input

NoticeKind = Literal["accepted", "rewound", "settled", "overdue"]
KINDS: tuple[NoticeKind, ...] = ("accepted", "rewound", "settled", "overdue")
MOST_WEBHOOKS = 32
MOST_IDENTITIES = 64
LONGEST_URL = 2_048
_SECRET_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
_MOST_SECRET_BYTES = 10_000
"""Bytes of a file of secrets."""


def url_problem(url: str, *, is_private_allowed: bool) -> str | None:
    """Return why nothing is sent to a URL; None if something is.

    Args:
        url: The URL.
        is_private_allowed: Whether it may be of a private network, and without TLS.
    """
    try:
        parsed = parse_url(url)
    except LocationParseError:
        return "is no URL"
    if parsed.scheme not in ("https", "http") or not parsed.host or len(url) > LONGEST_URL:
        return f"is no URL of https of at most {LONGEST_URL:,} letters"
    if parsed.auth is not None:
        return "has a name or a password in it, which logs would show"
    if parsed.scheme == "http" and not is_private_allowed:
        return "is not encrypted; use https, or allow private_addresses"
    return None


WebhookName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class WebhookConfig:
    """One receiver of notices."""

    name: WebhookName
    """What logs call it. What is still to be sent belongs to this name."""
    url: Name
    secret_file: Name
    """File with the secret that signs: whsec_ and 24 to 64 bytes in base64. Of several lines, each signs."""
    events: Annotated[list[NoticeKind], Field(min_length=1, max_length=len(KINDS))] = field(
        default_factory=lambda: [*KINDS]
    )
    """What it is sent."""
    private_addresses: bool = False
    """Whether the URL may lead into a private network, and be without TLS."""
    retry_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 72
    """How long a notice that was not taken is sent again."""

    @model_validator(mode="after")
    def _the_url_can_be_sent_to(self) -> "WebhookConfig":
        if problem := url_problem(self.url, is_private_allowed=self.private_addresses):
            raise ValueError(f"url {problem}")
        return self


def _as_domain(text: str) -> str:
    parsed = parse_url(f"https://{text}/")
    if parsed.host != text.lower() or parsed.port or not text.isascii():
        raise ValueError("must be a domain, such as opendsr.example.org")
    return text.lower()


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class IdentityConfig:
    """A kind of identity that requests of OpenDSR may name, and what it is in the runs."""

    type: Literal[
        "controller_customer_id",
        "android_advertising_id",
        "android_id",
        "email",
        "fire_advertising_id",
        "ios_advertising_id",
        "ios_vendor_id",
        "microsoft_advertising_id",
        "microsoft_publisher_id",
        "roku_publisher_id",
        "roku_advertising_id",
    ]
    format: Literal["raw", "sha1", "md5", "sha256"] = "raw"
    """How its values are written, in requests and in the runs."""
    names: Literal["owner", "id"] = "owner"
    """Whether a value names an owner of samples, or a sample."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class OpenDsrConfig:
    """OpenDSR: what the service says of itself, and what it signs with."""

    domain: Annotated[Name, AfterValidator(_as_domain)]
    """The domain that controllers call, which the certificate is issued for."""
    certificate: Name
    """PEM file with the certificate, and those that lead to its authority."""
    private_key: Name
    """PEM file with its RSA key."""
    identities: Annotated[list[IdentityConfig], Field(min_length=1, max_length=MOST_IDENTITIES)]
    """The identities that are understood."""
    private_addresses: bool = False
    """Whether status callbacks may go into a private network, and be without TLS."""
    retry_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 72
    """How long a callback that was not taken is sent again."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ProtocolSettings:
    """The file that `raymu serve --protocols` names."""

    state: Name | None = None
    """SQLite file that keeps what is still to be sent. By default beside the file of settings, with the ending .sqlite."""
    webhooks: Annotated[list[WebhookConfig], Field(max_length=MOST_WEBHOOKS)] = field(default_factory=list)
    opendsr: OpenDsrConfig | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> "ProtocolSettings":
        repeated = [name for name, count in Counter(hook.name for hook in self.webhooks).items() if count > 1]
        if repeated:
            raise ValueError(f"two webhooks are named {repeated[0]}; give each a name of its own")
        if not self.webhooks and self.opendsr is None:
            raise ValueError("there is neither a webhook nor opendsr; add one of them")
        return self


def read_protocol_settings(path: Path) -> tuple[ProtocolSettings, Path]:
    """Read the settings, and return them with the file of the state. Relative paths are those of their folder.

    Raises ConfigInvalid.
    """
    tree = read_settings(path, ())
    try:
        settings: ProtocolSettings = TypeAdapter(ProtocolSettings).validate_python(tree)
    except ValidationError as error:
        raise ConfigInvalid(f"{path}: {format_validation_error(error, ProtocolSettings)}") from error
    state = path.with_suffix(".sqlite") if settings.state is None else located(settings.state, path)
    return settings, state.absolute()


def located(name: str, settings_file: Path) -> Path:
    """Return the path of a file that settings name, relative to their own."""
    return settings_file.parent / Path(name).expanduser()


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Read the secrets of a webhook, one a line. Raises ConfigInvalid, without a word of what the file holds."""
    try:
        lines = read_input(path, largest=_MOST_SECRET_BYTES).decode("ascii").split()
        secrets = tuple(base64.b64decode(line.removeprefix(_SECRET_PREFIX), validate=True) for line in lines)
    except OSError as error:
        raise ConfigInvalid(
            f"secret_file: {path} cannot be read ({error.strerror}); make it by "
            f"`echo {_SECRET_PREFIX}$(openssl rand -base64 32) > FILE`"
        ) from error
    except (ValueError, binascii.Error):
        secrets = ()
    if not secrets or any(len(secret) not in _SECRET_BYTES for secret in secrets):
        raise ConfigInvalid(
            f"secret_file: {path} has to hold {_SECRET_PREFIX} and 24 to 64 bytes in base64, one secret a line"
        )
    return secrets
