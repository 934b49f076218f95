"""Standard output and standard error of a process whose reader may go away.

`raymu verify RUN | head -1` ends with the verdict's exit code, as without `head`: what is written after the reader has gone
is dropped. A disk that is full still fails.
"""

import io
import os
import sys
from typing import TextIO


class _Pipe(io.FileIO):
    """A file descriptor that drops what nobody reads any more."""

    def write(self, payload: object, /) -> int:
        try:
            return super().write(payload)  # type: ignore[arg-type]  # bytes, as of the base class
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(payload)  # type: ignore[arg-type]


def outlive_readers() -> None:
    """Have both streams go on when their reader has gone."""
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def _outliving(stream: TextIO) -> TextIO:
    """Return a stream on the same file descriptor; the stream itself if it is no file's, as in a test."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    is_buffered = isinstance(stream.buffer, io.BufferedWriter)  # it is not with PYTHONUNBUFFERED
    if not isinstance(stream.buffer.raw if is_buffered else stream.buffer, io.FileIO):
        return stream
    stream.flush()
    pipe = _Pipe(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(pipe) if is_buffered else pipe,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
