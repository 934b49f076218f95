"""Deletions in a Delta Lake table as requests: one for each version, which the run knows again by its key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from raymu.data.delta_changes import DeltaChanges
from raymu.errors import RequestInvalid
from raymu.service.requests.lookup import FoundRequest
from raymu.service.requests.revocation import Revocation

_AT_ONCE = 10_000
"""Keys that are looked up together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableDeletions:
    """The requests that the versions of a table make."""

    revocations: tuple[Revocation, ...]
    versions: tuple[int, ...]
    """The version of each."""
    last: int
    """The last version that was looked at."""


def read_table_deletions(
    location: str,
    column: str,
    *,
    since: int | None,
    find: Callable[[Sequence[str]], Sequence[FoundRequest]],
    strategy: str | None = None,
    boundary: float | str | None = None,
    due: datetime | None = None,
) -> TableDeletions:
    """Read the deletions that the run has not handled.

    Args:
        location: The table.
        column: Its column of ids.
        since: Later versions are looked at, also those that made a request already, which is then found by its key. None
            begins after the last version that made a request.
        find: Returns the request of each key.
        strategy: Strategy of the requests.
        boundary: Hybrid boundary of the requests.
        due: Due time of the requests.

    Raises:
        RequestInvalid: The table cannot be read, or where to begin is not known.
    """
    changes = DeltaChanges(location)
    last = changes.version
    if since is not None and since > last:
        raise RequestInvalid(f"--since {since} is later than the table, which has version {last}")
    begin = _last_handled(changes.id, last, find) if since is None else since
    if begin is None:
        raise RequestInvalid(
            "the run has handled no version of this table yet; give --since the version that the run was trained from"
        )
    deleted = changes.deleted_ids(column, first=begin + 1)
    revocations = tuple(
        Revocation(
            ids=each.ids,
            strategy=strategy,
            boundary=boundary,
            due=due,
            key=_key(changes.id, each.version),
            ignore_unknown=True,
        )
        for each in deleted
    )
    return TableDeletions(revocations=revocations, versions=tuple(each.version for each in deleted), last=last)


def _last_handled(table: str, last: int, find: Callable[[Sequence[str]], Sequence[FoundRequest]]) -> int | None:
    """Return the last version that made a request; None if none did."""
    for end in range(last, -1, -_AT_ONCE):
        versions = range(end, max(end - _AT_ONCE, -1), -1)
        known = find([_key(table, version) for version in versions])
        for version, request in zip(versions, known, strict=True):
            if request.request_id is not None:
                return version
    return None


def _key(table: str, version: int) -> str:
    return f"delta/{table}/{version}"
