"""Names of samples, owners and requests as keyed hashes, which stay when the names themselves are purged."""

import hmac

from raymu.core.records import SampleId


def sample_name(sample_id: SampleId) -> str:
    return f"id/{sample_id}"


def owner_name(owner: SampleId) -> str:
    return f"owner/{owner}"


def key_name(key: str) -> str:
    """Of an idempotency key: it may name the person whose samples are revoked."""
    return f"key/{key}"


def keyed_hash(name: str, key: bytes) -> str:
    """HMAC-SHA256 (RFC 2104), hex. key: of the run; without it the hash says nothing"""
    return hmac.digest(key, name.encode(), "sha256").hex()
