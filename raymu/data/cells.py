"""What spreadsheets and pandas make of tables that people write requests in."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

_EXACT = 2**53
"""Up to it a float holds every integer."""


def find_duplicate(names: Iterable[str]) -> str | None:
    """The first column that is there again, space around the names apart."""
    return next((name for name, count in Counter(name.strip() for name in names).items() if count > 1), None)


def undo_pandas_coercion(value: Any) -> Any:
    """A cell as it was meant: pandas has NaN for nothing, and the integers of such a column as floats."""
    if not isinstance(value, float):
        return value
    if value != value:  # NaN
        return None
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
