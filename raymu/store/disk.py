"""A local disk, one durable step at a time: the only place where a run's bytes are written or deleted locally."""

import os
from pathlib import Path


class LocalDisk:
    """Every method is one step after which a crash may come; tests fail each of them in turn."""

    def write(self, path: Path, payload: bytes, mode: int) -> None:
        """Write a new file, through to the disk."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())

    def make_folder(self, folder: Path) -> None:
        """With the folders above it, as far as they are missing."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self.sync_folder(folder.parent)

    def link(self, source: Path, target: Path) -> None:
        """Give a file another name. Raises OSError across disks, and where the target is there already."""
        target.hardlink_to(source)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def delete(self, path: Path) -> None:
        """Raises FileNotFoundError."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Names that came or went in a folder survive a power cut only after this."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
