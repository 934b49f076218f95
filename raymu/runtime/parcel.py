"""What goes along with a job, and what comes back through its log: the one thing of a job that Ray hands out."""

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from raymu.errors import RequestInvalid
from raymu.store.layout import MANIFEST

TICKET = "raymu-job.json"
"""The command, in the job's working directory: an entrypoint is shown by the cluster's dashboard, and may name people."""
LARGEST_BYTES = 100 * 1000 * 1000
"""Ray's dashboard takes 100 MiB in one request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """A command, and the mark of the lines in the job's log that are for the client alone."""

    command: tuple[str, ...]
    mark: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """code: the command's exit code; output: what it wrote on standard output"""

    code: int
    output: str


def pack(package: Path, folder: Path, command: Sequence[str]) -> Ticket:
    """Write a zip file with a folder's files and a ticket.

    What begins with a dot stays here, and so do runs: they hold samples.
    Raises RequestInvalid where the folder cannot be read, or is more than a job takes.
    """
    ticket = Ticket(command=tuple(command), mark=f"raymu-{uuid4().hex}")
    if not folder.is_dir():
        raise RequestInvalid(f"{folder} is no directory; name another with --working-dir")
    left = LARGEST_BYTES
    try:
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            archive.writestr(TICKET, json.dumps({"command": ticket.command, "mark": ticket.mark}))
            for path in _files_below(folder):
                left -= path.stat().st_size
                if left < 0:
                    raise RequestInvalid(
                        f"{folder} holds more than the {LARGEST_BYTES // 1000**2} MB that go along with a job; name a "
                        "smaller --working-dir, and keep data on storage that all nodes share"
                    )
                archive.write(path, path.relative_to(folder))
    except OSError as error:
        raise RequestInvalid(f"{folder} cannot be sent along ({error}); name another --working-dir") from error
    return ticket


def take_ticket(folder: Path) -> Ticket:
    """Read the ticket and remove it: nobody needs to find there whom the command names."""
    path = folder / TICKET
    found = json.loads(path.read_text())
    path.unlink()
    return Ticket(command=tuple(found["command"]), mark=found["mark"])


def _files_below(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not (one[0] == "." or (Path(here) / one / MANIFEST).exists()))
        for path in (Path(here) / name for name in sorted(names)):
            if path.name[0] != "." and path.is_file() and path != folder / TICKET:
                yield path


def begin_line(mark: str) -> str:
    """What a job writes first: what came before is about Ray."""
    return f"{mark} begins\n"


def outcome_line(mark: str, outcome: Outcome) -> str:
    """What a job writes last; in ASCII, whatever its log is encoded in."""
    return f"{mark} {json.dumps({'code': outcome.code, 'output': outcome.output})}\n"


class JobLog:
    """A job's log as it comes in: what is for people is passed on, the rest is taken out of it."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._preface, self._rest = "", ""  # before the command began; a line that is not complete yet
        self.has_begun = False
        self.outcome: Outcome | None = None

    def feed(self, text: str) -> str:
        """text: the next part of the log, cut anywhere. returns: what is to be shown"""
        *lines, self._rest = (self._rest + text).split("\n")
        return "".join(self._read(f"{line}\n") for line in lines)

    def end(self) -> str:
        """returns: what is left to be shown; where the command never began, all that there is"""
        left, self._preface, self._rest = self._preface + self._rest, "", ""
        return left

    def _read(self, line: str) -> str:
        before, mark, message = line.partition(self._mark)
        if not mark:
            if self.has_begun:
                return line
            self._preface += line
            return ""
        if not self.has_begun:
            self.has_begun, self._preface = True, ""
            return ""
        self.outcome = Outcome(**json.loads(message))
        return f"{before}\n" if before else ""
