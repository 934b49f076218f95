"""The registry of revoked subjects: keyed hashes in a database that the runs of an organisation share."""

import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql

from raymu.config.registry import RegistryConfig
from raymu.errors import ConfigInvalid, ConnectionLost, FileCorrupt, FileUnreadable, JournalBusy, StorageFailed
from raymu.store.files.retries import retried
from raymu.store.journal.database import Database, check_database_url, parse_url

Value = TypeVar("Value")

TABLES = sql.MetaData()
SUBJECTS = sql.Table(
    "revoked_subjects",
    TABLES,
    sql.Column("namespace", sql.String, primary_key=True),
    sql.Column("name", sql.String, primary_key=True),
    sql.Column("run", sql.String, primary_key=True),
    sql.Column("request_id", sql.String, nullable=False),
    sql.Column("revoked_at", sql.String, nullable=False),
    sql.Index("revoked_subjects_by_run", "run", "revoked_at"),
)
"""The keyed hash of each sample and each owner that a run revoked."""
_SETTING = "registry.url"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
"""All of one length, so that they are ordered as texts."""
_BATCH = 500
"""Names in one statement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RevokedSubject:
    """A sample or an owner that a request revokes."""

    name: str
    """Keyed hash of the id or the owner, under the key of the registry."""
    request_id: str


class Registry:
    """The revoked subjects of one namespace. Names are keyed hashes: the key is in a file beside the database, not in it."""

    def __init__(self, config: RegistryConfig) -> None:
        """Prepare the registry; the first use connects. Raises ConfigInvalid."""
        self._config = config
        url = parse_url(config.url, setting=_SETTING)
        check_database_url(url, setting=_SETTING)
        self._database = Database(url, name="the registry")
        self.key = _read_key(config)
        """The key of the hashes, 32 bytes."""

    def add(self, subjects: Collection[RevokedSubject], *, run: str, at: datetime) -> None:
        """Write what a run revokes, which may be there already. Raises StorageFailed.

        Args:
            subjects: What requests revoke.
            run: Id of the run.
            at: When.
        """
        request_of = {subject.name: subject.request_id for subject in subjects}

        def write() -> None:
            with self._database.writing() as connection:
                for names in _batches(request_of):
                    connection.execute(SUBJECTS.delete().where(*self._of(run), SUBJECTS.c.name.in_(names)))
                    rows = [
                        {
                            "namespace": self._config.namespace,
                            "name": name,
                            "run": run,
                            "request_id": request_of[name],
                            "revoked_at": f"{at.astimezone(UTC):{_TIME}}",
                        }
                        for name in names
                    ]
                    connection.execute(SUBJECTS.insert(), rows)

        if subjects:
            self._attempt(write)

    def names(self) -> frozenset[str]:
        """Return the names of everything that any run revoked. Raises StorageFailed."""
        query = sql.select(SUBJECTS.c.name).distinct().where(SUBJECTS.c.namespace == self._config.namespace)
        return frozenset(self._read(query))

    def newest_request_of(self, run: str) -> str | None:
        """Return the request of a run that was written last; None without any. Raises StorageFailed."""
        query = sql.select(SUBJECTS.c.request_id).where(*self._of(run))
        return next(iter(self._read(query.order_by(SUBJECTS.c.revoked_at.desc()).limit(1))), None)

    def requests_of(self, run: str) -> Mapping[str, frozenset[str]]:
        """Return what the requests of a run revoked: request -> names. Raises StorageFailed."""
        by_request: dict[str, set[str]] = {}
        for row in self._read_rows(sql.select(SUBJECTS.c.request_id, SUBJECTS.c.name).where(*self._of(run))):
            by_request.setdefault(row.request_id, set()).add(row.name)
        return {request_id: frozenset(names) for request_id, names in by_request.items()}

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _of(self, run: str) -> tuple[sql.ColumnElement[bool], ...]:
        return SUBJECTS.c.namespace == self._config.namespace, SUBJECTS.c.run == run

    def _read(self, query: sql.Select[Any]) -> list[str]:
        return [str(row[0]) for row in self._read_rows(query)]

    def _read_rows(self, query: sql.Select[Any]) -> list[sql.Row[Any]]:
        def read() -> list[sql.Row[Any]]:
            with self._database.reading() as connection:
                return list(connection.execute(query))

        return self._attempt(read)

    def _attempt(self, work: Callable[[], Value]) -> Value:
        """Do something again if the connection is lost, with the tables there. Raises StorageFailed."""

        def attempt() -> Value:
            self._database.add_tables(TABLES, [SUBJECTS])
            return work()

        with _as_storage():
            return retried(attempt, lambda error: isinstance(error, ConnectionLost))


def new_key_file(path: Path) -> None:
    """Write a new key, unless another process has written one meanwhile. Raises StorageFailed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        partial.touch(mode=0o600)
        try:
            partial.write_text(secrets.token_hex(32))
            os.link(partial, path)  # fails if there is one
        except FileExistsError:
            pass
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(str(path), error.strerror or str(error)) from error


def _read_key(config: RegistryConfig) -> bytes:
    path = Path(config.key_path)
    if not path.exists():
        if config.key_file is not None or Path(config.sqlite_file or "").exists():
            raise ConfigInvalid(
                f"registry.key_file: {path} is not there, and without it the registry can be neither read nor written; "
                "restore it, or write 64 random hex digits into it for a new registry"
            )
        new_key_file(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"registry.key_file: {path} cannot be read as 64 hex digits") from error
    if len(key) != 32:
        raise ConfigInvalid(f"registry.key_file: {path} does not hold 64 hex digits")
    return key


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    listed = list(names)
    return (listed[start : start + _BATCH] for start in range(0, len(listed), _BATCH))


@contextmanager
def _as_storage() -> Iterator[None]:
    """Say of every failure that it is the registry's, which no run's backup restores."""
    try:
        yield
    except (JournalBusy, FileUnreadable, FileCorrupt) as error:
        raise StorageFailed("the registry", error.problem) from error
