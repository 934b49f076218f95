"""Output files that a user names: written whole or not at all, and never over a file that is still needed."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from raymu.errors import RequestInvalid


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `path` at the end. After an error `path` is unchanged. Raises OSError."""
    target = Path(path).resolve()  # a link stays one
    partial = target.with_name(f".{uuid4().hex}.partial{Path(path).suffix}")  # the suffix may choose the format
    partial.touch()
    try:
        if target.exists():
            shutil.copymode(target, partial)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def require_ending(out: str | Path, endings: Sequence[str]) -> None:
    """Raise RequestInvalid unless a path ends as the format that is written: nothing is written under another name.

    Args:
        out: The path to write.
        endings: The endings of what is written, such as `.png`.
    """
    if Path(out).suffix.lower() not in endings:
        raise RequestInvalid(f"{out}: is of no known format; name a file that ends in {' or '.join(endings)}")


def check_output_path(out: str | Path, *, reads: Mapping[str, str | Path | None], run: str | None = None) -> None:
    """Raise RequestInvalid if a file cannot, or must not, be written to `out`.

    Args:
        out: The path to write.
        reads: The files that the command reads: a description for the message -> the path.
        run: The run directory, which holds only its own files.
    """
    target = Path(out)
    if not target.parent.is_dir():
        raise RequestInvalid(
            f"{out}: cannot be written, since {target.parent} is not a directory; make it, or name another"
        )
    if target.exists() and not target.is_file():
        raise RequestInvalid(f"{out}: exists and is not a file; name another")
    for what, path in reads.items():
        if path and target.exists() and Path(path).exists() and target.samefile(path):
            raise RequestInvalid(f"{out}: is {what}, and would be overwritten; name another file")
    if run and Path(run).resolve() in target.resolve().parents:
        raise RequestInvalid(f"{out}: is in the run's directory, which holds only its own files; name another place")


def check_output_folder(out: Path, *, run: str | None = None, may_have_files: bool = False) -> None:
    """Raise RequestInvalid unless a new folder can be written at `out`, or an empty one is there.

    Args:
        out: The folder to write.
        run: The run directory, which holds only its own files.
        may_have_files: Accept a folder with files, which the caller looks at.
    """
    if run and Path(run).resolve() in (out.resolve(), *out.resolve().parents):
        raise RequestInvalid(f"{out}: is in the run's directory, which holds only its own files; name another place")
    if not out.absolute().parent.is_dir():
        raise RequestInvalid(f"{out}: cannot be written, since its folder does not exist; make it, or name another")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise RequestInvalid(f"{out}: exists and is not a folder; name another")
    if out.exists() and not may_have_files and any(out.iterdir()):
        raise RequestInvalid(f"{out}: is a folder with files; name a new one")
