"""The phases of a command, such as reading the data, for whoever shows progress, and how long each of them took."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from raymu.core.fleet_choice import FleetChoice

PhaseListener = Callable[[str], None]
"""Called with the name of a phase when it begins."""
Count = Callable[[int, int], None]
"""Called with the number of things that are done, and of all."""

READING, PROBING, WRITING = "reading the data", "probing the model", "writing the samples"
STARTING, STARTING_RAY, STARTING_COORDINATOR = "starting", "starting Ray", "starting the coordinator"
WAITING = "waiting for the first stage"
TRAINING, PUBLISHING = "training", "publishing and purging"
PREDICTING = "predicting"


class PhaseTimes:
    """Seconds of each phase of a command. A phase that comes again is added up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a phase. clock: returns seconds since any fixed time"""
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._phase: str | None = None
        self._began_s = 0.0
        self.fleet: FleetChoice | None = None
        """Where the work was done; None if a fleet was not needed."""

    def begin(self, name: str | None, *, earlier_s: float = 0.0) -> None:
        """End the phase at work, and begin another.

        Args:
            name: The phase. None begins none.
            earlier_s: How long ago it began, at most since the phase before it began.
        """
        now = self._clock()
        if self._phase is not None:
            earlier_s = min(earlier_s, now - self._began_s)
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - earlier_s - self._began_s
        self._phase, self._began_s = name, now - earlier_s

    @property
    def phase(self) -> str | None:
        """The phase at work."""
        return self._phase

    def seconds(self) -> Mapping[str, float]:
        """Return the phases so far, in the order in which they began, and their seconds."""
        self.begin(self._phase)
        return dict(self._seconds)


def no_phase(_name: str) -> None:
    """Ignore a phase."""


def no_count(_done: int, _total: int) -> None:
    """Ignore a count."""


_listener: ContextVar[PhaseListener] = ContextVar("listener", default=no_phase)
_times: ContextVar[PhaseTimes | None] = ContextVar("times", default=None)


@contextmanager
def phases_heard_by(listener: PhaseListener) -> Iterator[None]:
    """Call a listener with every phase that begins meanwhile."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def phases_timed() -> Iterator[PhaseTimes]:
    """Time the phases that begin meanwhile."""
    times = PhaseTimes()
    token = _times.set(times)
    try:
        yield times
    finally:
        _times.reset(token)


def current_times() -> PhaseTimes | None:
    """Return the times of the command at work; None if nobody asked for them."""
    return _times.get()


def begin_phase(name: str) -> None:
    """Say that a phase begins, such as "reading the data". The name must not contain anything that a request names."""
    if times := _times.get():
        times.begin(name)
    _listener.get()(name)


def say_fleet(choice: FleetChoice) -> None:
    """Say where the work of a call is done, and why."""
    if times := _times.get():
        times.fleet = choice
    _listener.get()(f"{STARTING} ({choice})")


def count_in_phase(name: str, count: str) -> None:
    """Say how far a phase that has begun is, such as "2 of 10 rows", for whoever shows progress."""
    _listener.get()(f"{name}: {count}")
