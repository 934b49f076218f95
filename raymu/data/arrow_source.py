"""Bytes and files as Arrow reads them: in Arrow's own memory, so that none of its threads holds an object of Python's.

A thread of Arrow's lets a buffer go some time after the reading has returned. If that buffer is Python's and Python is
ending, the thread needs an interpreter that is no longer there, and the process aborts.
"""

import stat
from pathlib import Path

import pyarrow as pa

from raymu.input_file import read_input


def arrow_reader(payload: bytes) -> pa.BufferReader:
    """Return a reader of a copy of some bytes."""
    buffer = pa.allocate_buffer(len(payload))
    if payload:
        pa.FixedSizeBufferWriter(buffer).write(payload)
    return pa.BufferReader(buffer)


def buffer_reader(buffer: pa.Buffer) -> pa.BufferReader:
    """Return a reader of a buffer: one of Arrow's own, or mapped memory that no thread of Arrow's reads."""
    return pa.BufferReader(buffer)


def open_for_arrow(path: str | Path) -> pa.NativeFile:
    """Open a local file, or read a pipe such as that of `<(command)`. Raises OSError, or ValueError for no path."""
    if stat.S_ISREG(Path(path).stat().st_mode):
        return pa.OSFile(str(path))
    return arrow_reader(read_input(path))
