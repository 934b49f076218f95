"""The bytes that Ray keeps on this machine: its object store, the memory of its own processes, its files, command lines."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_CHUNK = 1 << 24
_SYSTEM_PROCESSES = ("raylet", "gcs_server")


def kept_by_ray(session: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a name and the bytes of each place, in chunks of at most 16 MiB and one for each command line.

    Args:
        session: The folder of the session that this process started.
    """
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            yield f"command line of {process.name()}", " ".join(process.cmdline()).encode()
            if process.name() in _SYSTEM_PROCESSES:
                yield from _memory(process)
                yield from _object_store(process)
    for path in sorted(session.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()


def _memory(process: psutil.Process) -> Iterator[tuple[str, bytes]]:
    """Yield the private memory of a process, as far as the system lets another process read it."""
    with suppress(OSError), Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if rights.startswith("rw-p"):
                start, end = (int(number, 16) for number in span.split("-"))
                for at in range(start, end, _CHUNK):
                    with suppress(OSError):
                        memory.seek(at)
                        yield f"memory of {process.name()}", memory.read(min(_CHUNK, end - at))


def _object_store(process: psutil.Process) -> Iterator[tuple[str, bytes]]:
    """Yield what the shared memory of a process contains. Its file has no name any more, and is mostly a hole."""
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            if not os.readlink(link).startswith("/dev/shm/"):
                continue
            descriptor = os.open(link, os.O_RDONLY)
            try:
                at = 0
                while True:  # OSError at the end
                    at = os.lseek(descriptor, at, os.SEEK_DATA)
                    chunk = os.pread(descriptor, _CHUNK, at)
                    yield "object store", chunk
                    at += len(chunk)
            finally:
                os.close(descriptor)
