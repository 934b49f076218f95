"""The reports of work that was done and is not in the journal yet: its first reply may have been lost."""

from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar

from raymu.core.records import ShardLineage
from raymu.errors import FileCorrupt, FileMissing
from raymu.store.files import RunFiles
from raymu.store.keys import RunKeys
from raymu.store.layout import kind_of
from raymu.store.seals import seal, unseal

_FOLDER = "reports"


class Report(Protocol):
    """What a piece of work did, and the shard's state after it."""

    @property
    def command_id(self) -> str: ...

    @property
    def lineage(self) -> ShardLineage: ...


AnyReport = TypeVar("AnyReport", bound=Report)


class WorkReports:
    """One sealed file per command."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys

    @property
    def there(self) -> list[str]:
        """The commands that have one, sorted."""
        return [name.removesuffix(".json") for name in self._files.list(_FOLDER) if _is_report(name)]

    def write(self, report: Report) -> None:
        """Raises StorageFailed."""
        self._files.write(report_path(report.command_id), seal(report, self._keys.hash_key))

    def find(self, kind: type[AnyReport], command_id: str) -> AnyReport | None:
        """The report of a command that ran already, if what it wrote is still there. Raises FileCorrupt."""
        path = report_path(command_id)
        try:
            payload = self._files.read(path)
        except FileMissing:
            return None
        source = self._files.named(path)
        report: AnyReport = unseal(kind, payload, self._keys.hash_key, source=source)
        if report.command_id != command_id:
            raise FileCorrupt(source, "the report of another command")
        return report if all(self._files.exists(ref.path) for ref in report.lineage.files) else None

    def drop(self, command_ids: Iterable[str]) -> None:
        """Once the journal has them."""
        self._files.delete(*(report_path(command_id) for command_id in command_ids))

    def drop_all_but(self, command_ids: Collection[str]) -> None:
        self.drop(command_id for command_id in self.there if command_id not in command_ids)


def _is_report(name: str) -> bool:
    return kind_of(f"{_FOLDER}/{name}") == "report"


def report_path(command_id: str) -> str:
    return f"{_FOLDER}/{command_id}.json"
