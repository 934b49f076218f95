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

    Args:
        attempt: Done again from its beginning, so that it must do no harm to what it did already.
        is_passing: Tells of an error whether another attempt may succeed.
    """
    for pause_s in PAUSES_S:
        try:
            return attempt()
        except Exception as error:
            if not is_passing(error):
                raise
        time.sleep(pause_s * (1 + _random.random() / 2))
    return attempt()
