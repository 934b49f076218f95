"""Files of a run that stay open between requests: those that were used last, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from threading import Lock
from typing import Generic, TypeVar

from raymu.core.records import FileRef

Content = TypeVar("Content")


class LastUsed(Generic[Content]):
    """Contents of files, read when they are asked for."""

    def __init__(self, most_bytes: int) -> None:
        """Begin with nothing open.

        Args:
            most_bytes: Bytes of the files that stay open. The one that was used last stays open whatever its size.
        """
        self._most_bytes, self._bytes = most_bytes, 0
        self._open: OrderedDict[FileRef, Content] = OrderedDict()
        self._lock = Lock()

    def get(self, ref: FileRef, read: Callable[[], Content]) -> Content:
        """Return the content of a file, by `read` unless it is open. Raises what `read` raises."""
        with self._lock:
            if ref in self._open:
                self._open.move_to_end(ref)
                return self._open[ref]
        content = read()
        with self._lock:
            if ref not in self._open:
                self._open[ref] = content
                self._bytes += ref.byte_size
            while len(self._open) > 1 and self._bytes > self._most_bytes:
                closed, _ = self._open.popitem(last=False)
                self._bytes -= closed.byte_size
        return content

    def close(self, refs: Collection[FileRef]) -> None:
        """Close files, if they are open: a file that was destroyed can be read as long as it is mapped."""
        with self._lock:
            for ref in refs:
                if self._open.pop(ref, None) is not None:
                    self._bytes -= ref.byte_size
