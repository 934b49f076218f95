"""The access log of the service: who called what, when, and with which outcome. It names no sample and no owner."""

import json
import logging
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from raymu.errors import StorageFailed


class AccessLog:
    """Appends one JSON object a line to a file, which may be rotated meanwhile."""

    def __init__(self, path: Path | None) -> None:
        """Open the log. path: None writes nothing. Raises StorageFailed."""
        self._handler: WatchedFileHandler | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)
                self._handler = WatchedFileHandler(path, encoding="utf-8")
            except OSError as error:
                raise StorageFailed(str(path), error.strerror or str(error)) from error

    def write(
        self, *, caller: str, role: str, method: str, route: str, status: int, seconds: float, request_ids: list[str]
    ) -> None:
        """Write one call.

        Args:
            caller: Name of the token; empty without one.
            role: Role of the caller; empty without one.
            method: The HTTP method.
            route: The path as the program has it, with names of parameters instead of their values.
            status: The HTTP status of the answer.
            seconds: How long the answer took.
            request_ids: The requests that the call made or read.
        """
        if self._handler is None:
            return
        entry = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "caller": caller,
            "role": role,
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "requests": request_ids,
        }
        self._handler.emit(logging.makeLogRecord({"msg": json.dumps(entry)}))

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            self._handler.close()
