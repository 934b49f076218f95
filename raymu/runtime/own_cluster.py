"""The needs of a cluster of raymu's own on this machine: a short folder, and the same versions. Nothing here calls Ray."""

import os
import re
import sys
from collections.abc import Sequence

from raymu.errors import DeviceUnavailable

_LONGEST_FOLDER = 40
"""Letters of Ray's folder. The system allows a socket about 104, and Ray adds the names of a session and of the socket."""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")
_MISMATCH = re.compile(r"Version mismatch.*?Ray: (\S+)\s+Python: (\S+)", re.DOTALL)


def other_version(problem: str) -> str | None:
    """Return the versions of the cluster in Ray's refusal to join it; None if it was refused for another reason."""
    match = _MISMATCH.search(problem)
    return f"Ray {match[1]} with Python {match[2]}" if match else None


def short_folder(candidates: Sequence[str] = _SHORT) -> str | None:
    """Return a temporary folder for Ray that can be written, and whose sockets have names that are short enough.

    Batch systems and containers set TMPDIR to long paths, and to paths that only exist on other machines.

    Args:
        candidates: Folders to choose from.

    Returns:
        The folder; None if the one that Ray chooses by itself will do.

    Raises:
        DeviceUnavailable: There is no such folder.
    """
    linux_folder = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    chosen = os.path.join(os.environ.get("RAY_TMPDIR") or linux_folder or "/tmp", "ray")
    if _will_do(chosen):
        return None
    for folder in candidates:
        for name in ("ray", f"ray-{os.getuid()}"):
            if _will_do(path := os.path.join(folder, name)):
                return path
    raise DeviceUnavailable(
        f"Ray needs a folder that can be written, with a path of at most {_LONGEST_FOLDER} letters; {chosen} will not do: "
        "set RAY_TMPDIR to another"
    )


def _will_do(path: str) -> bool:
    if len(os.path.abspath(path)) > _LONGEST_FOLDER:
        return False
    while not os.path.lexists(path):  # Ray makes what is missing
        path = os.path.dirname(path) or "."
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)
