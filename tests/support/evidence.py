"""Results that nobody measured, to tell what comes from a result from what only looks so."""

from typing import Any


def scaled(found: Any) -> Any:
    """With every broken number half as large again. found: rows, or a document"""
    match found:
        case dict():
            return {key: scaled(value) for key, value in found.items()}
        case list():
            return [scaled(value) for value in found]
        case float():
            return found * 1.5
    return found
