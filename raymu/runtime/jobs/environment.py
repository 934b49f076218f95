"""A job's runtime environment as its user asks for it: held against what Ray takes, before anything is sent."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray._private.runtime_env.packaging import _get_excludes
from ray.runtime_env import RuntimeEnv

from raymu.errors import RequestInvalid
from raymu.text import one_line

STOP_S = 30
"""How long a job has to end by itself once it is stopped."""


class JobEnvironment:
    """Ray's runtime environment, but for the working directory, which raymu packs itself."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        """Raises RequestInvalid where Ray would not take it."""
        if "working_dir" in asked:
            raise RequestInvalid(
                "working_dir does not belong in a runtime environment here; give --working-dir instead"
            )
        self._asked = {name: value for name, value in asked.items() if name != "excludes"}
        self._excludes: list[str] = asked.get("excludes") or []
        try:
            RuntimeEnv(**asked)
            self.exclusion(Path())
        except (ValueError, TypeError, IndexError) as error:  # IndexError: of a pattern that is none, such as "!"
            raise refusal(error) from error

    def exclusion(self, folder: Path) -> Callable[[Path], bool]:
        """What of a folder stays behind, by `excludes`, which Ray reads as Git does its ignore files."""
        return _get_excludes(folder, self._excludes)

    def complete(self, package: Path) -> dict[str, Any]:
        """For a job that works in a package, and closes its run when it is stopped."""
        own = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}
        variables = {**own, **(self._asked.get("env_vars") or {})}
        return {**self._asked, "env_vars": variables, "working_dir": str(package)}


def refusal(error: Exception) -> RequestInvalid:
    """error: what Ray says of an environment"""
    return RequestInvalid(f"Ray does not take this runtime environment ({one_line(error)}); see its documentation")
