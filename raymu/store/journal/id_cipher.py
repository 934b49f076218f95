"""Encryption of the raw ids in the journal's database, whose logs and backups keep what the database deletes."""

import hmac
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from raymu.core.records import SampleId
from raymu.errors import FileCorrupt

_NONCE_BYTES = 12


class IdCipher:
    """AES-256-GCM (NIST SP 800-38D), bound to the request and the shard that the ids belong to."""

    def __init__(self, key: bytes) -> None:
        """Derive the key of the cipher from the run's, which lies outside the database."""
        self._cipher = AESGCM(hmac.digest(key, b"raw ids", "sha256"))

    def encrypt(self, sample_ids: Sequence[SampleId], *, request_id: str, shard: int) -> str:
        """Return the ids encrypted, as base64 text."""
        nonce = os.urandom(_NONCE_BYTES)
        payload = self._cipher.encrypt(
            nonce, json.dumps(list(sample_ids)).encode(), _associated_data(request_id, shard)
        )
        return b64encode(nonce + payload).decode()

    def decrypt(self, text: str, *, request_id: str, shard: int) -> list[SampleId]:
        """Return the ids that were encrypted for this request and shard. Raises FileCorrupt."""
        try:
            payload = b64decode(text, validate=True)
            nonce, payload = payload[:_NONCE_BYTES], payload[_NONCE_BYTES:]
            plain = self._cipher.decrypt(nonce, payload, _associated_data(request_id, shard))
            sample_ids: list[SampleId] = json.loads(plain)
        except (ValueError, InvalidTag) as error:
            source = f"the journal's ids of request {request_id} on shard {shard}"
            raise FileCorrupt(source, "not what was written") from error
        return sample_ids


def _associated_data(request_id: str, shard: int) -> bytes:
    return f"{shard}\n{request_id}".encode()
