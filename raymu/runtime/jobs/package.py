"""What goes along with a job, and what comes back through its log: the one thing of a job that Ray hands out."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from cryptography.fernet import Fernet

from raymu.errors import RequestInvalid
from raymu.store.layout import is_run

LARGEST_BYTES = 100 * 1000 * 1000
"""Ray's dashboard takes 100 MiB in one request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCommand:
    """A command, and how the job answers: the mark of the log's lines that are for the client alone, and their key."""

    command: tuple[str, ...]
    mark: str
    key: str

    @classmethod
    def issue(cls, command: Sequence[str]) -> "JobCommand":
        return cls(command=tuple(command), mark=f"raymu-{uuid4().hex}", key=Fernet.generate_key().decode())

    @classmethod
    def parse(cls, text: bytes) -> "JobCommand":
        found = json.loads(text)
        return cls(command=tuple(found["command"]), mark=found["mark"], key=found["key"])

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandResult:
    """code: the command's exit code; output: what it wrote on standard output; complaint: its refusal's one line"""

    code: int
    output: str
    complaint: str


def pack(package: Path, folder: Path, *, is_excluded: Callable[[Path], bool]) -> None:
    """Write a zip file with a folder's files.

    What begins with a dot stays here, and so do runs: they hold samples, and keys.
    is_excluded: tells of a file or a folder whether it stays here too
    Raises RequestInvalid where the folder is a run, or within one, cannot be read, or is more than a job takes.
    """
    if not folder.is_dir():
        raise RequestInvalid(f"{folder} is no directory; name another with --working-dir")
    left = LARGEST_BYTES
    try:
        _require_outside_runs(folder.resolve())
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for path in _files_below(folder, is_excluded):
                left -= path.stat().st_size
                if left < 0:
                    raise RequestInvalid(
                        f"{folder} holds more than the {LARGEST_BYTES // 1000**2} MB that go along with a job; name a "
                        "smaller --working-dir, and keep data on storage that all nodes share"
                    )
                archive.write(path, path.relative_to(folder))
    except OSError as error:
        raise RequestInvalid(f"{folder} cannot be sent along ({error}); name another --working-dir") from error


def _require_outside_runs(folder: Path) -> None:
    """folder: an absolute path"""
    for one in (folder, *folder.parents):
        if is_run(one):
            raise RequestInvalid(
                f"{one} is a run, which holds samples and keys, and nothing in it goes along; name another --working-dir"
            )


def _files_below(folder: Path, is_excluded: Callable[[Path], bool]) -> Iterator[Path]:
    def goes_along(path: Path) -> bool:
        return not (path.name.startswith(".") or is_run(path) or is_excluded(path))

    for here, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if goes_along(Path(here) / one))
        for path in (Path(here) / name for name in sorted(names)):
            if path.is_file() and goes_along(path):
                yield path


def begin_line(ticket: JobCommand) -> str:
    """What a job writes first: what came before is about Ray."""
    return f"{ticket.mark} begins\n"


def outcome_line(ticket: JobCommand, outcome: CommandResult) -> str:
    """What a job writes last; sealed, for the log stays with Ray, and an outcome may name people."""
    return f"{ticket.mark} {Fernet(ticket.key).encrypt(json.dumps(asdict(outcome)).encode()).decode()}\n"


class JobLog:
    """A job's log as it comes in: what is for people is passed on, the rest is taken out of it."""

    def __init__(self, ticket: JobCommand) -> None:
        self._ticket = ticket
        self._preface, self._rest = "", ""  # before the command began; a line that is not complete yet
        self.has_begun = False
        self.outcome: CommandResult | None = None

    def feed(self, text: str) -> str:
        """text: the next part of the log, cut anywhere. returns: what is to be shown"""
        *lines, self._rest = (self._rest + text).split("\n")
        return "".join(self._read(f"{line}\n") for line in lines)

    def end(self) -> str:
        """returns: what is left to be shown; where the command never began, all that there is"""
        left, self._preface, self._rest = self._preface + self._rest, "", ""
        return left

    def _read(self, line: str) -> str:
        before, mark, message = line.partition(self._ticket.mark)
        if not mark:
            if self.has_begun:
                return line
            self._preface += line
            return ""
        if not self.has_begun:
            self.has_begun, self._preface = True, ""
            return ""
        self.outcome = CommandResult(**json.loads(Fernet(self._ticket.key).decrypt(message.strip())))
        return f"{before}\n" if before else ""
