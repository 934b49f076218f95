"""The reports of work that is not in the journal yet: of work that was done, and of what was done when it broke off."""

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
    """What a piece of work has done so far."""

    @property
    def command_id(self) -> str: ...


class Report(Protocol):
    """What a piece of work did, and the shard's state after it."""

    @property
    def command_id(self) -> str: ...

    @property
    def lineage(self) -> ShardLineage: ...


AnyReport = TypeVar("AnyReport", bound=Report)
AnyPartial = TypeVar("AnyPartial", bound=Partial)


class WorkReports:
    """Two sealed files per command at most: its report, whose first reply may have been lost, and its interim report."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys

    @property
    def finished(self) -> list[str]:
        """The commands that have a report, sorted."""
        return [command_id for command_id, kind in self._found() if kind == "report"]

    @property
    def partial(self) -> list[str]:
        """The commands that have an interim report, sorted."""
        return [command_id for command_id, kind in self._found() if kind == "partial report"]

    def write(self, report: Report) -> None:
        """Raises StorageFailed."""
        self._files.write(report_path(report.command_id), seal(report, self._keys.hash_key))

    def write_partial(self, interim: Partial) -> None:
        """Raises StorageFailed."""
        self._files.write(partial_path(interim.command_id), seal(interim, self._keys.hash_key))

    def find(self, kind: type[AnyReport], command_id: str) -> AnyReport | None:
        """The report of a command that ran already, if what it wrote is still there. Raises FileCorrupt."""
        report: AnyReport | None = self._read(kind, report_path(command_id), command_id)
        if report is None:
            return None
        return report if all(self._files.exists(ref.path) for ref in report.lineage.files) else None

    def find_partial(self, kind: type[AnyPartial], command_id: str) -> AnyPartial | None:
        """What was done of a command that is not done. Raises FileCorrupt."""
        interim: AnyPartial | None = self._read(kind, partial_path(command_id), command_id)
        return interim

    def delete(self, command_ids: Iterable[str]) -> None:
        """Once the journal has them."""
        self._files.delete(*(path_of(one) for one in command_ids for path_of in (report_path, partial_path)))

    def delete_except(self, command_ids: Collection[str], *, shard: int | None = None) -> None:
        """Of one shard, or of all."""
        found = dict.fromkeys(command_id for command_id, _ in self._found())
        self.delete(one for one in found if one not in command_ids and shard in (None, _shard_of(one)))

    def _found(self) -> Iterator[tuple[str, str]]:
        """(command, kind of file)"""
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
        found = unseal(kind, payload, self._keys.hash_key, source=source)
        if found.command_id != command_id:
            raise FileCorrupt(source, "the report of another command")
        return found


def report_path(command_id: str) -> str:
    return f"{_FOLDER}/{command_id}.json"


def partial_path(command_id: str) -> str:
    return f"{_FOLDER}/{command_id}.interim.json"


def _shard_of(command_id: str) -> int:
    return int(command_id.split("-")[1])
