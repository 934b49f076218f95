"""Requests to storage side by side: an object store answers each one late, and many at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 16


def map_concurrently(request: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return the results in the order of the items. After all have ended, raise the first failure, if any."""
    if not items:
        return []
    with ThreadPoolExecutor(min(MAX_THREADS, len(items))) as threads:
        return list(threads.map(request, items))
