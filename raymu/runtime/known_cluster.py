"""A check for a running Ray cluster that does not import Ray, which takes a second and 100 MB."""

import os
import sys
from pathlib import Path


def may_find_cluster(address: str | None) -> bool:
    """Return whether Ray could find a cluster: one is named, `ray start` recorded one here, or this process joined one.

    Args:
        address: The configured address. None and "local" name no cluster.
    """
    is_named = address not in (None, "local") or bool(os.environ.get("RAY_ADDRESS"))
    return is_named or sys.modules.get("ray") is not None or _address_file().exists()


def _address_file() -> Path:
    """Return the file in which `ray start` records its cluster, in Ray's temporary folder."""
    linux_folder = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    return Path(os.environ.get("RAY_TMPDIR") or linux_folder or "/tmp", "ray", "ray_current_cluster")
