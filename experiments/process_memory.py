"""The memory of this process, as Linux counts it. `getrusage` mixes the peak with that of the parent."""

import re
from pathlib import Path


def present_bytes() -> int:
    """Return the resident memory of this process now."""
    return _measure("VmRSS")


def peak_bytes() -> int:
    """Return the peak of its resident memory since it began, or since `begin_peak`."""
    return _measure("VmHWM")


def begin_peak() -> None:
    """Forget the peak so far."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _measure(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert match, "the memory of a process is read from /proc, which only Linux has"
    return int(match[1]) * 1024
