"""Trying again what a network or a server failed at, after pauses that grow."""

import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

Result = TypeVar("Result")

PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before each further attempt, each up to half as long again: clients that failed together come back one by one."""
_random = Random()  # of its own: models draw from Python's generator


def retried(attempt: Callable[[], Result], is_passing: Callable[[Exception], bool]) -> Result:
    """Return the result of the first attempt that succeeds, and raise what the last one raised.

    What was tried in vain within an attempt is not tried again: otherwise a server that is out of reach would be called 49
    times.

    Args:
        attempt: Done again from its beginning, so that it must do no harm to what it did already.
        is_passing: Tells of an error whether another attempt may succeed.
    """
    for pause_s in PAUSES_S:
        try:
            return attempt()
        except Exception as error:
            if not is_passing(error) or _was_tried_in_vain(error):
                raise
        time.sleep(pause_s * (1 + _random.random() / 2))
    try:
        return attempt()
    except Exception as error:
        if is_passing(error):
            vars(error)[_IN_VAIN] = True
        raise


_IN_VAIN = "_was_tried_in_vain"
"""Attribute of an error that the last attempt raised."""


def _was_tried_in_vain(error: BaseException | None) -> bool:
    """Return whether the last attempt of a call raised an error, or the one that it was translated from."""
    while error is not None:
        if _IN_VAIN in vars(error):
            return True
        error = error.__cause__
    return False


def is_passing_storage(error: Exception) -> bool:
    """Tell whether an object store failed in a way that may pass: it was busy, had an error of its own, or was out of reach.

    The client of S3 tries most requests again by itself, but not those whose answer breaks off, nor for ever.
    """
    cause = error.__cause__
    return isinstance(cause, OSError) and any(mark in str(cause) for mark in _PASSING)


_PASSING = (
    "AWS Error INTERNAL_FAILURE",
    "AWS Error NETWORK_CONNECTION",
    "AWS Error REQUEST_TIMEOUT",
    "AWS Error SERVICE_UNAVAILABLE",
    "AWS Error SLOW_DOWN",
    "AWS Error THROTTLING",
    "HTTP status 500",
    "HTTP status 502",
    "HTTP status 503",
    "HTTP status 504",
    "NoSuchUpload",
)
"""Parts of the messages of pyarrow. The last one: a large upload was completed, and the answer lost."""
