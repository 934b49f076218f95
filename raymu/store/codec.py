"""Records as canonical JSON, plain or sealed, and back."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from raymu.errors import FileCorrupt

Record = TypeVar("Record")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_tree(record: object) -> dict[str, Any]:
    """Return a record as plain JSON values."""
    kind: Any = type(record)
    tree: dict[str, Any] = _adapter(kind).dump_python(record, mode="json")
    return tree


def to_json(record: object) -> bytes:
    """Return a record as canonical JSON: sorted keys, no spaces, UTF-8. Equal records give equal bytes."""
    return canonical_json(to_tree(record))


def canonical_json(tree: Mapping[str, Any]) -> bytes:
    """Return JSON values as canonical JSON."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def from_json(kind: Any, payload: bytes | str, *, source: str) -> Any:
    """Read a record.

    Args:
        kind: A class, or a union of classes.
        payload: Its JSON.
        source: Name of the JSON in error messages.

    Raises:
        FileCorrupt: The JSON is not such a record.
    """
    try:
        return _adapter(kind).validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        raise FileCorrupt(source, f"not a record of this version ({first['loc']}: {first['msg']})") from error


_SEAL = "seal"


def seal(record: object, key: bytes) -> bytes:
    """Return a record as canonical JSON with an entry for its seal (HMAC-SHA256, RFC 2104)."""
    tree = to_tree(record)
    return canonical_json(tree | {_SEAL: _seal_of(tree, key)})


def unseal(kind: Any, payload: bytes, key: bytes, *, source: str) -> Any:
    """Read a sealed record of `kind`. Raises FileCorrupt, naming `source`, unless the bytes are those that `seal` gave."""
    try:
        tree = json.loads(payload)
        stored = tree.pop(_SEAL)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise FileCorrupt(source, "not what was written: it has no seal") from error
    if not (isinstance(stored, str) and hmac.compare_digest(stored.encode(), _seal_of(tree, key).encode())):
        raise FileCorrupt(source, "not what was written here: its seal is broken")
    if payload != canonical_json(tree | {_SEAL: stored}):
        raise FileCorrupt(source, "not the bytes that were written")
    return from_json(kind, canonical_json(tree), source=source)


def _seal_of(tree: dict[str, Any], key: bytes) -> str:
    return hmac.new(key, b"seal\n" + canonical_json(tree), hashlib.sha256).hexdigest()
