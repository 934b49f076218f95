"""The phases of a command that are not stages of work yet, such as reading the data, for whoever shows progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str], None]
"""Called with the name of a phase when it begins."""


def _ignore(_name: str) -> None:
    """Ignore a phase."""


_listener: ContextVar[Listener] = ContextVar("listener", default=_ignore)


@contextmanager
def phases_heard_by(listener: Listener) -> Iterator[None]:
    """Call a listener with every phase that begins meanwhile."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def begin_phase(name: str) -> None:
    """Say that a phase begins, such as "reading the data". The name must not contain anything that a request names."""
    _listener.get()(name)
