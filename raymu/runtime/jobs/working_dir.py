"""The files that are copied for a job: those of a folder, without hidden ones, runs, and those that the user excludes."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raymu.errors import RequestInvalid
from raymu.store.layout import is_run

STOP_S = 30
"""How long a job may take to end by itself once it is stopped."""
_HIDDEN = ".?*"
"""The pattern of hidden files. `.*` would match `.` too, the folder itself."""


def job_environment(runtime_env: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return Ray's runtime environment for a job that works in a copy of a folder.

    Ray packs the folder itself, and leaves out what `.gitignore` and `.rayignore` list there. A stopped job gets SIGINT,
    so that it can close its run.

    Args:
        runtime_env: The user's part of it, for example `pip` or `env_vars`.
        folder: The working directory.

    Raises:
        RequestInvalid: `runtime_env` names a working directory, or the folder is not a directory or belongs to a run.
    """
    if "working_dir" in runtime_env:
        raise RequestInvalid("working_dir does not belong in a runtime environment here; give --working-dir instead")
    variables = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}
    return {
        **runtime_env,
        "env_vars": variables | (runtime_env.get("env_vars") or {}),
        "working_dir": str(folder),
        # Of several patterns that match a file, the last one decides: a user's `!` cannot bring a run back.
        "excludes": [*(runtime_env.get("excludes") or []), _HIDDEN, *run_patterns(folder)],
    }


def run_patterns(folder: Path) -> list[str]:
    """Return patterns, as of a `.gitignore`, that exclude every run in a folder, and links into one.

    Raises:
        RequestInvalid: The folder is not a directory, cannot be read, or belongs to a run.
    """
    if not folder.is_dir():
        raise RequestInvalid(f"{folder} is not a directory; name another one with --working-dir")
    try:
        if run := _run_of(folder.resolve()):
            raise RequestInvalid(
                f"{run} is a run, which contains samples and keys, and nothing in it leaves this machine; "
                "name another --working-dir"
            )
        return [_pattern(path.relative_to(folder)) for path in _runs_in(folder)]
    except OSError as error:
        raise RequestInvalid(f"{folder} cannot be read ({error}); name another --working-dir") from error


def _runs_in(folder: Path) -> Iterator[Path]:
    """Yield runs, and links that lead into a run or back to a parent. Ray follows links, so this walk does, too."""
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        here = Path(root)
        is_left_out = {name: name.startswith(".") or _is_private(here / name) for name in (*folders, *files)}
        yield from (here / name for name in sorted(is_left_out) if is_left_out[name] and not name.startswith("."))
        folders[:] = sorted(name for name in folders if not is_left_out[name])


def _is_private(path: Path) -> bool:
    if not path.is_symlink():
        return path.is_dir() and is_run(path)
    target = path.resolve()
    return _run_of(target) is not None or target in path.parent.resolve().parents or target == path.parent.resolve()


def _run_of(path: Path) -> Path | None:
    """Return the run that a path belongs to. `path` is absolute."""
    return next((folder for folder in (path, *path.parents) if is_run(folder)), None)


def _pattern(path: Path) -> str:
    """Return a pattern for one path. A `?` stands for any character that has a meaning in patterns."""
    return "/" + re.sub(r"[^\w./-]", "?", path.as_posix(), flags=re.ASCII)


def _raise(error: OSError) -> None:
    raise error
