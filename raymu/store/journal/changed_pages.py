"""The pages of a SQLite file that change while a process works on it, as its write-ahead log has them after each commit."""

import threading
from pathlib import Path

import numpy as np

from raymu.store.files.database_files import read_in_use

_HEADER = np.dtype(
    [("magic", ">u4"), ("version", ">u4"), ("page", ">u4"), ("number", ">u4"), ("salt", ">u8"), ("sums", ">u8")]
)
"""The beginning of a log (sqlite.org/fileformat2.html, section 4.1). `number` counts how often the log began anew."""
_FRAME_BYTES = 24
"""Bytes of a frame before its page: the page's number, the size of the file after a commit or 0, and the log's salt."""
_AT_ONCE = 1024
"""Frames that are read at once."""


class ChangedPages:
    """Collects the numbers of changed pages. What a log had is lost once it begins anew, so it is read after each commit.

    Whoever commits holds `lock` until the pages are noted, and so does whoever moves the log into the file.
    """

    def __init__(self, file: Path) -> None:
        """Begin without changes.

        Args:
            file: The database, whose log is empty.
        """
        self._log = file.with_name(f"{file.name}-wal")
        self._salt = self._next = self._emptied = 0
        self._number: int | None = None
        self.lock = threading.RLock()
        self.pages: set[int] = set()
        """Numbers of the pages, from 1."""
        self.page_bytes = 0
        """Bytes of a page; 0 before the first change."""
        self.is_complete = True
        """Whether no change can be missing, by whomever."""

    def note(self) -> None:
        """Note the pages of what was committed since the last call."""
        try:
            self._note()
        except (OSError, ValueError):
            self.is_complete = False

    def note_emptied(self) -> None:
        """Note that this process has moved the log into the file, so that it begins anew."""
        self._emptied += 1

    def _note(self) -> None:
        begins = np.frombuffer(self._read(0, _HEADER.itemsize), dtype=_HEADER)
        if len(begins) != 1:
            raise ValueError("a commit has written to the log, which is empty")
        begin = begins[0]
        salt, number, page = int(begin["salt"]), int(begin["number"]), int(begin["page"])
        if salt != self._salt:
            may_follow = range((self._number or 0) + 1, (self._number or 0) + 1 + max(1, self._emptied))
            if self._number is not None and number not in may_follow:
                raise ValueError("somebody else has begun the log anew")
            self._salt, self._number, self._next = salt, number, _HEADER.itemsize
        self._emptied = 0
        self.page_bytes = page
        frame = np.dtype([("page", ">u4"), ("size", ">u4"), ("salt", ">u8"), ("rest", "V", _FRAME_BYTES - 16 + page)])
        position = self._next
        while True:
            payload = self._read(position, _AT_ONCE * frame.itemsize)
            frames = np.frombuffer(payload, dtype=frame, count=len(payload) // frame.itemsize)
            others = np.flatnonzero(frames["salt"] != salt)
            frames = frames[: others[0]] if len(others) else frames
            self.pages.update(frames["page"].tolist())
            commits = np.flatnonzero(frames["size"])
            if len(commits):  # what follows the last one is written again by the next transaction
                self._next = position + (int(commits[-1]) + 1) * frame.itemsize
            position += len(frames) * frame.itemsize
            if len(frames) < _AT_ONCE:
                return

    def _read(self, offset: int, length: int) -> bytes:
        """Return bytes of the log. Raises OSError."""
        return read_in_use(str(self._log), offset=offset, length=length) or b""
