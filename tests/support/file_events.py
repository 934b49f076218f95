"""Events of the files of a run, from the kernel as they happen (Linux: inotify)."""

import ctypes
import os
import select
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

_MODIFY, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x80, 0x100, 0x200
_IS_FOLDER = 0x40000000
_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_WORDS = {_CREATE: "appears", _MOVED_TO: "appears", _DELETE: "goes", _MODIFY: "grows"}


@contextmanager
def watched(root: Path, see: Callable[[str], None]) -> Iterator[None]:
    """Call `see` for every event of a file below the root: "appears PATH", "goes PATH", "grows PATH".

    The calls come from another thread, within a fraction of a millisecond. Half-written files appear too, under their
    hidden names.
    """
    watch = _Watch(root, see)
    try:
        yield
    finally:
        watch.close()


class _Watch:
    def __init__(self, root: Path, see: Callable[[str], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._root, self._see = root, see
        self._inotify = self._checked(self._libc.inotify_init1(os.O_CLOEXEC))
        self._folders: dict[int, Path] = {}
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            self._add(folder)
        self._end, self._stop = os.pipe()
        self._thread = Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._stop, b"x")
        self._thread.join()
        for descriptor in (self._inotify, self._end, self._stop):
            os.close(descriptor)

    def _add(self, folder: Path) -> None:
        mask = _MODIFY | _MOVED_TO | _CREATE | _DELETE
        watch = self._checked(self._libc.inotify_add_watch(self._inotify, os.fsencode(folder), mask))
        self._folders[watch] = folder

    def _follow(self) -> None:
        while self._end not in select.select([self._inotify, self._end], [], [])[0]:
            events = os.read(self._inotify, 1 << 16)
            at = 0
            while at < len(events):
                watch, mask, _, length = _HEAD.unpack_from(events, at)
                at += _HEAD.size + length
                self._report(self._folders[watch] / os.fsdecode(events[at - length : at].rstrip(b"\0")), mask)

    def _report(self, path: Path, mask: int) -> None:
        if mask & _IS_FOLDER and mask & _CREATE:
            self._add(path)
        elif not mask & _IS_FOLDER:
            for word in (word for bit, word in _WORDS.items() if mask & bit):
                self._see(f"{word} {path.relative_to(self._root)}")

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        return result
