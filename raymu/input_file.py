"""Input files that a user names: read whole, up to a limit, without waiting for a pipe that nobody writes to."""

import errno
import os
import stat
from pathlib import Path

LARGEST_PIPE = 2**31
"""Most bytes that are read from a pipe, which may have no end."""


def read_input(path: str | Path, *, largest: int | None = None) -> bytes:
    """Read a file, or a pipe such as that of `<(command)`.

    Args:
        path: Its path.
        largest: Most bytes that it may have. By default, a file may have any number.

    Raises:
        OSError: It cannot be read, is a directory, a device or too large, or is a pipe that nobody writes to.
        ValueError: The path cannot be one.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        is_pipe = not stat.S_ISREG(mode)
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not file.isatty()):
            raise OSError(errno.EINVAL, "it is a device, not a file")
        if largest is None and is_pipe:
            largest = LARGEST_PIPE
        os.set_blocking(descriptor, True)
        payload = file.read() if largest is None else file.read(largest + 1)
    if largest is not None and len(payload) > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest:,} bytes")
    if is_pipe and not payload:
        raise OSError(errno.EPIPE, "it is a pipe, and nothing is written to it")
    return payload


def require_file(path: str | Path) -> None:
    """Raise OSError if a path exists and is neither a file nor a directory: opening a pipe or a device may never end."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
