"""Signed JSON documents: the signature is an entry beside those that it covers."""

from collections.abc import Mapping
from typing import Any

from raymu.store.codec import canonical_json
from raymu.store.keys import has_valid_signature, sign

SIGNATURE = "signature"


def signed(tree: Mapping[str, Any], signing_key: bytes) -> dict[str, Any]:
    """Return a document with its signature (Ed25519 over its canonical JSON, RFC 8032)."""
    return {**tree, SIGNATURE: sign(canonical_json(tree), signing_key)}


def is_signed_by(document: Mapping[str, Any], public_key: bytes) -> bool:
    """Return whether a document has a valid signature of a key, whatever the order and the layout of its JSON."""
    tree = {name: value for name, value in document.items() if name != SIGNATURE}
    signature = document.get(SIGNATURE)
    return isinstance(signature, str) and has_valid_signature(canonical_json(tree), signature, public_key)
