"""Files that are named by their content, so that equal bytes are one file."""

import hashlib
from collections.abc import Iterable
from typing import IO

from raymu.core.records import FileRef


def content_ref(stem: str, ending: str, sha256: str, byte_size: int) -> FileRef:
    """Return the reference of a file whose name contains its hash."""
    return FileRef(path=f"{stem}-{sha256[:16]}{ending}", sha256=sha256, byte_size=byte_size)


class HashedWriter:
    """A file that is hashed while it is written."""

    def __init__(self) -> None:
        self.file: IO[bytes] | None = None
        self.byte_size = 0
        self._digest = hashlib.sha256()

    def ref(self, stem: str, ending: str) -> FileRef:
        """Return the reference of what was written, as `content_ref`."""
        return content_ref(stem, ending, self._digest.hexdigest(), self.byte_size)

    def write(self, content: bytes) -> int:
        """Write all of some bytes. Raises OSError."""
        assert self.file is not None, "it is set before anything is written"
        self.file.write(content)
        self._digest.update(content)
        self.byte_size += len(content)
        return len(content)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Write several parts. Raises OSError."""
        for part in parts:
            self.write(part)

    def flush(self) -> None:
        """Do nothing: whoever opened the file closes it."""
