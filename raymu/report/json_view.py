"""How any JSON document is shown: what has parts, what makes a table, and single values as words."""

from collections.abc import Mapping
from typing import Any


def is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def is_table(value: Any) -> bool:
    """Whether it is a list of objects that all have the same names."""
    if not (isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value)):
        return False
    return bool(value[0]) and all(row.keys() == value[0].keys() for row in value)


def plain(value: Any) -> str:
    """A single value: numbers to four digits, yes, no, none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
