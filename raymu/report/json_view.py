"""The layout of any JSON document: which values are tables, which have parts, and how single values are written."""

from collections.abc import Mapping
from typing import Any


def is_nested(value: Any) -> bool:
    """Return whether a value is an object or a list."""
    return isinstance(value, Mapping | list)


def is_table(value: Any) -> bool:
    """Return whether a value is a list of objects with the same keys."""
    if not (isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value)):
        return False
    return bool(value[0]) and all(row.keys() == value[0].keys() for row in value)


def plain(value: Any) -> str:
    """Return a single value as text: numbers with four digits, yes, no, none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
