"""Classes as actors, and functions as tasks: how all of raymu's are made."""

from collections.abc import Callable
from typing import Any

import ray


def as_remote(code: type | Callable[..., Any]) -> Any:
    """With task events off: Ray would show on its dashboard what they raise, and an error's text may name people."""
    wrap: Any = ray.remote(enable_task_events=False)  # type: ignore[call-overload]  # Ray's types lack the option
    return wrap(code)
