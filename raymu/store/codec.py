"""Records as canonical JSON, plain or sealed, and back."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from raymu.errors import FileCorrupt

Record = TypeVar("Record")

MAX_JSON_BYTES = 2**30
MAX_JSON_DEPTH = 100
"""Objects and lists within each other; records of raymu have less than ten."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_OTHERS = bytes(set(range(256)).difference(b'[]{}"\\'))
"""All bytes but those that a depth is told by."""


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


def parse_json(payload: bytes | str, *, source: str) -> Any:
    """Read JSON values that raymu wrote. What is read back comes through here, or through `from_json`.

    Args:
        payload: The JSON.
        source: Its name in error messages.

    Raises:
        FileCorrupt: It is not JSON, is too large or nested too deep, or has text that UTF-8 does not have.
    """
    if len(payload) > MAX_JSON_BYTES:
        raise FileCorrupt(source, f"larger than {MAX_JSON_BYTES:,} bytes")
    try:
        text = payload.decode() if isinstance(payload, bytes) else payload
        if _is_deep(text):
            raise FileCorrupt(source, f"JSON that is nested more than {MAX_JSON_DEPTH} deep")
        tree = json.loads(text)
        if "\\u" in text:  # an escape may be half a character
            json.dumps(tree, ensure_ascii=False).encode()
    except (ValueError, AttributeError, RecursionError) as error:  # AttributeError: a number in the place of text
        raise FileCorrupt(source, "not what was written: it is not JSON") from error
    return tree


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH or _is_surely_flat(text):
        return False
    depth = 0
    for bracket in _BRACKETS.finditer(text):
        mark = bracket.group()
        depth += (mark in "[{") - (mark in "]}")
        if depth > MAX_JSON_DEPTH:
            return True
    return False


def _is_surely_flat(text: str) -> bool:
    """Return whether the depth is within the limit, if a few passes in C can tell; megabytes take the regular one seconds."""
    rest = text.encode(errors="surrogatepass").translate(None, _OTHERS)
    if b"\\" in rest:
        return False
    rest = rest.replace(b'""', b"")  # a text without brackets leaves its two quotes
    for _level in range(MAX_JSON_DEPTH):
        if not rest or b'"' in rest:
            break
        rest = rest.replace(b"[]", b"").replace(b"{}", b"")
    return not rest


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
    return canonical_json(tree | {_SEAL: _seal_of(canonical_json(tree), key)})


def unseal(kind: Any, payload: bytes, key: bytes, *, source: str) -> Any:
    """Read a sealed record of `kind`. Raises FileCorrupt, naming `source`, unless the bytes are those that `seal` gave."""
    tree = parse_json(payload, source=source)
    try:
        stored = tree.pop(_SEAL)
    except (KeyError, AttributeError, TypeError) as error:
        raise FileCorrupt(source, "not what was written: it has no seal") from error
    canonical = canonical_json(tree)
    if not _is_seal_of(stored, canonical, key):
        raise FileCorrupt(source, "not what was written here: its seal is broken")
    if payload != canonical_json(tree | {_SEAL: stored}):
        raise FileCorrupt(source, "not the bytes that were written")
    return from_json(kind, canonical, source=source)


def has_seal(tree: Mapping[str, Any], key: bytes) -> bool:
    """Return whether JSON values, of whatever record, have an entry for their seal, and it is theirs."""
    rest = canonical_json({name: value for name, value in tree.items() if name != _SEAL})
    return _is_seal_of(tree.get(_SEAL), rest, key)


def _is_seal_of(stored: object, canonical: bytes, key: bytes) -> bool:
    return isinstance(stored, str) and hmac.compare_digest(stored.encode(), _seal_of(canonical, key).encode())


def _seal_of(canonical: bytes, key: bytes) -> str:
    return hmac.new(key, b"seal\n" + canonical, hashlib.sha256).hexdigest()
