"""Webhooks: notices signed as Standard Webhooks asks, by which a receiver knows their sender, their age and a repetition."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raymu.web.outbox import Message
from raymu.web.protocol_settings import WebhookConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A receiver of notices, and the secrets that they are signed with."""

    config: WebhookConfig
    secrets: Sequence[bytes]

    @property
    def target(self) -> str:
        return f"webhook {self.config.name}"

    @property
    def is_private_allowed(self) -> bool:
        return self.config.private_addresses

    @property
    def retry_s(self) -> float:
        """How long a notice is sent again."""
        return self.config.retry_hours * 3600

    def url(self, _message: Message) -> str:
        """Return where messages go now: the settings may have changed since they were made."""
        return self.config.url

    def headers(self, message: Message, now: float) -> Mapping[str, str]:
        """Return the headers of one attempt. now: seconds since 1970"""
        stamp = str(int(now))
        signed = f"{message.id}.{stamp}.{message.body}".encode()
        return {
            "webhook-id": message.id,
            "webhook-timestamp": stamp,
            "webhook-signature": " ".join(_signature(secret, signed) for secret in self.secrets),
        }


def _signature(secret: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
