"""Encryption of the raw ids in the journal's database, whose logs and backups keep what the database deletes."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence

from raymu.core.records import SampleId
from raymu.errors import FileCorrupt
from raymu.store.cipher import RunCipher


class IdCipher:
    """Encryption that is bound to the request and the shard that the ids belong to."""

    def __init__(self, key: bytes) -> None:
        """Derive the key of the cipher from the run's, which lies outside the database."""
        self._cipher = RunCipher(key, purpose="raw ids")

    def encrypt(self, sample_ids: Sequence[SampleId], *, request_id: str, shard: int) -> str:
        """Return the ids encrypted, as base64 text."""
        plain = json.dumps(list(sample_ids)).encode()
        return b64encode(self._cipher.encrypt(plain, bound_to=_place_of(request_id, shard))).decode()

    def decrypt(self, text: str, *, request_id: str, shard: int) -> list[SampleId]:
        """Return the ids that were encrypted for this request and shard. Raises FileCorrupt."""
        try:
            payload = b64decode(text, validate=True)
            plain = self._cipher.decrypt(payload, bound_to=_place_of(request_id, shard))
            sample_ids: list[SampleId] = json.loads(plain)
        except ValueError as error:
            source = f"the journal's ids of request {request_id} on shard {shard}"
            raise FileCorrupt(source, "not what was written") from error
        return sample_ids


def _place_of(request_id: str, shard: int) -> bytes:
    return f"{shard}\n{request_id}".encode()
