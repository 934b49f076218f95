"""Imports without Python's collector of reference cycles, which would walk over their many new objects again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_is_own_process = False


def own_process() -> None:
    """Say that this process is raymu's own, so that what was imported can be left out of all later collections."""
    global _is_own_process
    _is_own_process = True


@contextmanager
def imports_uncollected() -> Iterator[None]:
    """Keep the collector off. Imports make hundreds of thousands of objects, and hardly any garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        freeze_own()
        if was_enabled:
            gc.enable()


def freeze_own() -> None:
    """In a process of raymu's own, leave all objects so far out of later collections: also of the one at its end."""
    if _is_own_process:
        gc.freeze()
