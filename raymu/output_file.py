"""Files that a user asks for: each is written whole or not at all, and never over something that is still needed."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from raymu.errors import RequestInvalid


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Where to write: it takes the name `path` at the end, and whatever breaks off leaves what was there. Raises OSError."""
    place = Path(path).resolve()  # a link stays one
    partial = place.with_name(f".{uuid4().hex}.partial{Path(path).suffix}")  # the ending may choose the format
    partial.touch()
    try:
        if place.exists():
            shutil.copymode(place, partial)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def check_output_path(out: str | Path, *, reads: Mapping[str, str | Path | None], run: str | None = None) -> None:
    """Raises RequestInvalid where a file cannot, or must not, be written to `out`.

    reads: what the command reads, in words -> its path; run: that it is about, whose directory holds its own files alone
    """
    place = Path(out)
    if not place.parent.is_dir():
        raise RequestInvalid(
            f"{out}: cannot be written, since {place.parent} is no directory; make it, or name another"
        )
    if place.exists() and not place.is_file():
        raise RequestInvalid(f"{out}: is there already, and is no file; name another")
    for what, path in reads.items():
        if path and place.exists() and Path(path).exists() and place.samefile(path):
            raise RequestInvalid(f"{out}: is {what}, and would be lost; name another file")
    if run and Path(run).resolve() in place.resolve().parents:
        raise RequestInvalid(f"{out}: is in the run's directory, which holds its own files alone; name another place")
