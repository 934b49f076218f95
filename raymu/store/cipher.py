"""Encryption with a key of the run, for what a request names and that lies or travels outside of the run's own files."""

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class RunCipher:
    """AES-256-GCM (NIST SP 800-38D). The nonce comes first in what is encrypted."""

    def __init__(self, key: bytes, *, purpose: str) -> None:
        """Derive the key of a purpose from the run's, so that nothing of one purpose passes for another."""
        self._cipher = AESGCM(hmac.digest(key, purpose.encode(), "sha256"))

    def encrypt(self, plain: bytes, *, bound_to: bytes) -> bytes:
        """Encrypt bytes. Only with the same `bound_to` are they decrypted."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound_to)

    def decrypt(self, payload: bytes, *, bound_to: bytes) -> bytes:
        """Decrypt bytes. Raises ValueError if they were changed, or encrypted with another key or `bound_to`."""
        try:
            return self._cipher.decrypt(payload[:_NONCE_BYTES], payload[_NONCE_BYTES:], bound_to)
        except InvalidTag as error:
            raise ValueError("it was not encrypted with this key, or was changed") from error
