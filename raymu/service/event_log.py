"""raymu's log: one line for each event of a run, by the standard library's `logging` under the name `raymu`.

A line has the fields that `core/telemetry/log_fields.py` allows, and never what a request names.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

from raymu.core.board.board import RevocationBoard
from raymu.core.events import Event
from raymu.core.receipts import Receipts
from raymu.core.telemetry.log_fields import LogValue, log_fields

_FIELDS = "raymu_fields"
_log = logging.getLogger(__name__)


class LogForm(StrEnum):
    TEXT = "text"
    JSON = "json"


def configure_logging(stream: TextIO, form: LogForm) -> None:
    """Write raymu's log to a stream and nowhere else: one line for each record of level INFO or higher."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines() if form is LogForm.JSON else _TextLines())
    logger = logging.getLogger("raymu")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the root logger may not write one line a record


def log_to_stderr() -> None:
    """Write raymu's log to standard error as JSON, which Ray keeps in a file for each process."""
    configure_logging(sys.stderr, LogForm.JSON)


def is_logged() -> bool:
    """Return whether events are logged."""
    return _log.isEnabledFor(logging.INFO)


def log_event(event: str, **fields: LogValue) -> None:
    """Write one line of the log. The fields must not contain anything that a request names."""
    _log.info(event, extra={_FIELDS: fields})


class EventLog:
    """Logs every event of a run."""

    def __init__(self, run: str) -> None:
        """Log a run by its id."""
        self._run = run

    def on_open(self, board: RevocationBoard, receipts: Receipts) -> None:
        requests, unrepaired = receipts.accepted, len(board.open_requests)
        log_event("opened", run=self._run, shards=len(board.lineages), requests=requests, open=unrepaired)

    def on_event(self, event: Event) -> None:
        if is_logged():
            log_event(event.kind, run=self._run, **log_fields(event))

    def on_close(self) -> None:
        log_event("closed", run=self._run)


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head, fields = _parts(record)
        return " ".join((*head.values(), *(f"{name}={_short(value)}" for name, value in fields.items())))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head, fields = _parts(record)
        return json.dumps({**head, **fields})


def _short(value: LogValue) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parts(record: logging.LogRecord) -> tuple[dict[str, str], dict[str, LogValue]]:
    """Return time, level and event; and the fields. An error's text is left out: it may name samples."""
    fields = dict(getattr(record, _FIELDS, {}))
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    head = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
    if record.exc_info and record.exc_info[0]:
        fields["error"] = record.exc_info[0].__name__
    return head, fields
