"""The change data feed of a Delta Lake table: which ids each version deletes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.records import SampleId
from raymu.core.uri import redacted
from raymu.data import values
from raymu.data.arrow_values import plain
from raymu.errors import RequestInvalid
from raymu.text import one_line

_GONE = ("delete", "update_preimage")
"""Changes after which a row is no longer as it was."""
_SETTING = "delta.enableChangeDataFeed"
_KIND, _VERSION = "_change_type", "_commit_version"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeletedIds:
    """What one version of a table deletes."""

    version: int
    ids: tuple[SampleId, ...]


class DeltaChanges:
    """The changes of one table."""

    def __init__(self, location: str) -> None:
        """Open the table as it is now.

        Args:
            location: A path or a URI.

        Raises:
            RequestInvalid: There is no such table, or deltalake is not installed.
        """
        try:
            from deltalake import DeltaTable
            from deltalake.exceptions import DeltaError
        except ImportError as error:
            raise RequestInvalid("deltalake is not installed; pip install 'raymu[deltalake]'") from error
        self._name, self._errors = one_line(redacted(location)), (DeltaError, pa.ArrowException, OSError, ValueError)
        try:
            self._table: Any = DeltaTable(location)
        except self._errors as error:
            raise RequestInvalid(f"{self._name}: is no Delta table that can be read ({_shown(error)})") from error

    @property
    def id(self) -> str:
        """The table's own id, which stays when it is moved."""
        return str(self._table.metadata().id)

    @property
    def version(self) -> int:
        """The version that the table has."""
        return int(self._table.version())

    def deleted_ids(self, column: str, *, first: int) -> Sequence[DeletedIds]:
        """Return what each version deletes, in order; versions that delete nothing are left out.

        An id that the same version writes again is not deleted: its row was changed, or moved to another file. One that a
        version changes into another is.

        Args:
            column: The column of ids.
            first: The first version to look at.

        Raises:
            RequestInvalid: The feed is not kept for these versions, or the table has no such column.
        """
        names = [field.name for field in self._table.schema().fields]
        if column not in names:
            raise RequestInvalid(
                f"{self._name}: has no column {one_line(column)}, where the run has its ids; it has "
                f"{one_line(', '.join(names[:20]))}"
            )
        if (
            str(self._table.metadata().configuration.get(_SETTING)).lower() != "true"
        ):  # load_cdf looks at the first version
            raise self._without_feed(first)
        if first > self.version:
            return []
        try:
            feed = self._table.load_cdf(
                starting_version=first, ending_version=self.version, columns=[column, _KIND, _VERSION]
            )
            read = pa.table(feed)
            changes = pa.table({name: plain(read[name]) for name in (column, _KIND, _VERSION)})
        except self._errors as error:
            raise self._unread(error, first) from error
        gone = pc.is_in(changes[_KIND], pa.array(_GONE))
        deleted = []
        for version in sorted(pc.unique(changes[_VERSION]).to_pylist()):
            is_of = pc.equal(changes[_VERSION], version)
            before = self._ids(changes.filter(pc.and_(is_of, gone)), column)
            after = set(self._ids(changes.filter(pc.and_(is_of, pc.invert(gone))), column))
            if ids := tuple(dict.fromkeys(each for each in before if each not in after)):
                deleted.append(DeletedIds(version=int(version), ids=ids))
        return deleted

    def _ids(self, rows: pa.Table, column: str) -> list[SampleId]:
        ids = rows[column].drop_null()
        return values.sample_ids(self._name, column, ids).values.tolist() if len(ids) else []

    def _unread(self, error: Exception, first: int) -> RequestInvalid:
        text = str(error)
        if "change data enabled" in text:
            return self._without_feed(first)
        if "not found" in text.lower() or "no such file" in text.lower():
            return RequestInvalid(
                f"{self._name}: the changes from version {first} on were vacuumed; revoke what they deleted by its ids, and "
                "give --since the first version that is whole"
            )
        return RequestInvalid(f"{self._name}: its change data feed cannot be read ({_shown(error)})")

    def _without_feed(self, first: int) -> RequestInvalid:
        return RequestInvalid(
            f"{self._name}: keeps no change data feed for version {first}; set {_SETTING}, and give --since the version in "
            "which it was set"
        )


def _shown(error: Exception) -> str:
    return one_line(redacted(str(error).partition("\n")[0]), longest=200)
