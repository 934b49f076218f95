"""A check for a running Ray cluster that does not import Ray, which takes a second and 100 MB."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

_ANSWER_S = 1.0
"""How long a cluster on this machine may take to answer."""


def may_find_cluster(address: str | None) -> bool:
    """Return whether Ray could find a cluster: one is named, `ray start` recorded one here, or this process joined one.

    Args:
        address: The configured address. None and "local" name no cluster.
    """
    is_named = address not in (None, "local") or bool(os.environ.get("RAY_ADDRESS"))
    return is_named or sys.modules.get("ray") is not None or _address_file().exists()


def joined_cluster(address: str | None) -> str | None:
    """Say why work belongs on a cluster that is up already; None if there is none.

    A cluster on this machine counts if it answers: `ray start` leaves its record behind when it crashes.

    Args:
        address: The address that was asked for.
    """
    if sys.modules.get("ray") is not None and sys.modules["ray"].is_initialized():
        return "this process is connected to a cluster"
    if reason := named_cluster(address):
        return reason
    with suppress(OSError, ValueError):
        host, _, port = _address_file().read_text(encoding="utf-8").strip().rpartition(":")
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        return "a cluster is up on this machine"
    return None


def named_cluster(address: str | None) -> str | None:
    """Say what names a cluster; None if nothing does. A cluster that is merely up on this machine is not named.

    Args:
        address: The address that was asked for.
    """
    if os.environ.get("RAY_ADDRESS") not in (None, "", "local"):
        return "the variable RAY_ADDRESS names a cluster"
    if address not in (None, "local"):
        return "a cluster's address is given"
    return None


def _address_file() -> Path:
    """Return the file in which `ray start` records its cluster, in Ray's temporary folder."""
    linux_folder = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    return Path(os.environ.get("RAY_TMPDIR") or linux_folder or "/tmp", "ray", "ray_current_cluster")
