"""Several requests to storage at a time: an object store answers each of them late, and many at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_AT_ONCE = 16


def map_concurrently(ask: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """The answers, in the items' order. Raises what the first that fails raises, once all have ended."""
    if not items:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(items))) as threads:
        return list(threads.map(ask, items))
