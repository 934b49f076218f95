"""The interface of a storage: how bytes of a run are written and destroyed. Reading is the same for all, through pyarrow."""

from collections.abc import Callable, Sequence
from typing import Protocol


class Storage(Protocol):
    """A place for files that appear whole or not at all. Paths are absolute within the storage."""

    @property
    def is_local(self) -> bool:
        """True for a file system of this machine, where SQLite can keep a journal."""

    def write(self, path: str, payload: bytes, *, mode: int, fence: Callable[[], None]) -> None:
        """Write a file durably, or replace it. `fence` raises if the file may not appear any more. Raises OSError."""

    def link(self, source: str, target: str) -> bool:
        """Give a file a second name without a copy. Returns False if the storage cannot."""

    def delete(self, paths: Sequence[str]) -> int:
        """Destroy files durably. Returns how many existed."""

    def keeps_versions(self, path: str) -> bool:
        """Return whether deleted bytes stay readable as an earlier version of the file, which was just written."""
