"""Ray's errors as raymu shows them: without Ray's wrapping, in one sentence."""

import re

from ray.exceptions import RayError, RayTaskError

from raymu.errors import RaymuError
from raymu.text import one_line

_TERMINAL_ART = re.compile(r"\x1b\[[\d;]*m|\^{2,}")
"""Colours, and carets under a line of code."""


def unwrap(error: RayTaskError) -> BaseException:
    """Return the error that raymu's own code raised in another process, or Ray's error if foreign code raised it."""
    return error.cause if isinstance(error.cause, RaymuError) else error


def first_sentence(error: RayError) -> str:
    """Return the first sentence of Ray's message. The rest describes Ray's own processes, for a terminal."""
    return one_line(_TERMINAL_ART.sub("", str(error))).partition(". ")[0].rstrip(".")
