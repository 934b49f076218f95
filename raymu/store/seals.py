"""Sealed JSON: a record with a keyed hash over it, so that what was changed, or made elsewhere, is refused."""

import hashlib
import hmac
import json
from typing import Any

from raymu.errors import FileCorrupt
from raymu.store.codec import canonical_json, from_json, to_tree

_SEAL = "seal"


def seal(record: object, key: bytes) -> bytes:
    """Canonical JSON of the record, with an entry for the seal (HMAC-SHA256, RFC 2104)."""
    tree = to_tree(record)
    return canonical_json(tree | {_SEAL: _seal_of(tree, key)})


def unseal(kind: Any, payload: bytes, key: bytes, *, source: str) -> Any:
    """A record of `kind`. Raises FileCorrupt, naming `source`."""
    try:
        tree = json.loads(payload)
        found = tree.pop(_SEAL)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise FileCorrupt(source, "not what was written: it bears no seal") from error
    if not (isinstance(found, str) and hmac.compare_digest(found.encode(), _seal_of(tree, key).encode())):
        raise FileCorrupt(source, "not what was written here: its seal is broken")
    if payload != canonical_json(tree | {_SEAL: found}):
        raise FileCorrupt(source, "not the bytes that were written")
    return from_json(kind, canonical_json(tree), source=source)


def _seal_of(tree: dict[str, Any], key: bytes) -> str:
    return hmac.new(key, b"seal\n" + canonical_json(tree), hashlib.sha256).hexdigest()
