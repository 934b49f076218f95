"""Reports of commands that are not in the journal yet: of finished ones, and of what interrupted ones had finished."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from raymu.core.records import ShardLineage
from raymu.errors import FileCorrupt, FileMissing
from raymu.store.codec import seal, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import RunKeys
from raymu.store.layout import kind_of

_FOLDER = "reports"


class Partial(Protocol):
    """The progress of a command that has not ended."""

    @property
    def command_id(self) -> str: ...


class Report(Protocol):
    """The result of a command, and the state of the shard after it."""

    @property
    def command_id(self) -> str: ...

    @property
    def lineage(self) -> ShardLineage: ...


AnyReport = TypeVar("AnyReport", bound=Report)
AnyPartial = TypeVar("AnyPartial", bound=Partial)


class WorkReports:
    """At most two sealed files per command: its report, in case the first reply was lost, and its partial report."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys

    @property
    def finished(self) -> list[str]:
        """Ids of the commands that have a report, sorted."""
        return [command_id for command_id, kind in self._listed() if kind == "report"]

    @property
    def partial(self) -> list[str]:
        """Ids of the commands that have a partial report, sorted."""
        return [command_id for command_id, kind in self._listed() if kind == "partial report"]

    def write(self, report: Report) -> None:
        """Write the report of a finished command. Raises StorageFailed."""
        self._files.write(report_path(report.command_id), seal(report, self._keys.hash_key))

    def write_partial(self, partial: Partial) -> None:
        """Write what an unfinished command has done so far. Raises StorageFailed."""
        self._files.write(partial_path(partial.command_id), seal(partial, self._keys.hash_key))

    def find(self, kind: type[AnyReport], command_id: str) -> AnyReport | None:
        """Return the report of a command that ran before, if the files that it wrote still exist.

        A report that is not what was written is none: it only spares work, which gives the same bits again.
        """
        try:
            report: AnyReport | None = self._read(kind, report_path(command_id), command_id)
        except FileCorrupt:
            return None
        if report is None:
            return None
        return report if all(self._files.exists(ref.path) for ref in report.lineage.files) else None

    def check(self, kind: type, command_id: str) -> None:
        """Raise FileCorrupt if the report of a command is not what was written."""
        self._read(kind, report_path(command_id), command_id)

    def find_partial(self, kind: type[AnyPartial], command_id: str) -> AnyPartial | None:
        """Return what an unfinished command has done so far; None if nothing is stored. Raises FileCorrupt."""
        partial: AnyPartial | None = self._read(kind, partial_path(command_id), command_id)
        return partial

    def delete(self, command_ids: Iterable[str]) -> None:
        """Delete the reports of commands, once the journal has them."""
        self._files.delete(
            *(path_of(command_id) for command_id in command_ids for path_of in (report_path, partial_path))
        )

    def delete_except(self, command_ids: Collection[str], *, shard: int | None = None) -> None:
        """Delete the reports of all other commands, of one shard or of all."""
        others = {command_id for command_id, _ in self._listed()}.difference(command_ids)
        self.delete(command_id for command_id in sorted(others) if shard in (None, _shard_of(command_id)))

    def _listed(self) -> Iterator[tuple[str, str]]:
        """Yield the command and the kind of every file."""
        for name in self._files.list(_FOLDER):
            kind = kind_of(f"{_FOLDER}/{name}")
            if kind:
                yield name.partition(".")[0], kind

    def _read(self, kind: type, path: str, command_id: str) -> Any:
        try:
            payload = self._files.read(path)
        except FileMissing:
            return None
        source = self._files.display_path(path)
        report = unseal(kind, payload, self._keys.hash_key, source=source)
        if report.command_id != command_id:
            raise FileCorrupt(source, "the report of another command")
        return report


def report_path(command_id: str) -> str:
    """Return the path of a report within the run directory."""
    return f"{_FOLDER}/{command_id}.json"


def partial_path(command_id: str) -> str:
    """Return the path of a partial report within the run directory."""
    return f"{_FOLDER}/{command_id}.interim.json"


def _shard_of(command_id: str) -> int:
    return int(command_id.split("-")[1])
