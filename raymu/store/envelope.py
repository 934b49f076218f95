"""Statements of in-toto in signed envelopes (DSSE 1.0), which other programs open."""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from raymu.store.codec import canonical_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


def subject(name: str, sha256: str) -> dict[str, Any]:
    """Return what a statement is about: a name, and the SHA-256 of the content, in hex."""
    return {"name": name, "digest": {"sha256": sha256}}


def sign_statement(
    subjects: Sequence[Mapping[str, Any]],
    predicate_type: str,
    predicate: Mapping[str, Any],
    *,
    key: Ed25519PrivateKey | EllipticCurvePrivateKey,
    key_id: str,
) -> dict[str, Any]:
    """Return an envelope with a statement.

    Args:
        subjects: What it is about.
        predicate_type: The type of what it says, a URI.
        predicate: What it says.
        key: The key that signs it.
        key_id: A hint at that key, which is not signed.
    """
    from securesystemslib.dsse import Envelope  # takes a third of a second, and only these files need it
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

    statement = {
        "_type": STATEMENT_TYPE,
        "subject": list(subjects),
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    envelope = Envelope(canonical_json(statement), PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(key, SSlibKey.from_crypto(key.public_key(), key_id)))
    return dict(envelope.to_dict())
