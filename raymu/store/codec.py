"""Records to canonical JSON and back."""

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
    """A record as plain JSON values."""
    kind: Any = type(record)
    tree: dict[str, Any] = _adapter(kind).dump_python(record, mode="json")
    return tree


def to_json(record: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8; equal records give equal bytes."""
    return canonical_json(to_tree(record))


def canonical_json(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def from_json(kind: Any, payload: bytes | str, *, source: str) -> Any:
    """A record of `kind` (a class, or a union of classes). Raises FileCorrupt, naming `source`."""
    try:
        return _adapter(kind).validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        raise FileCorrupt(source, f"not a record of this version ({first['loc']}: {first['msg']})") from error
