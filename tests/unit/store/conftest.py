from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from raymu.core.uri import is_uri
from raymu.store.creation import create_run
from raymu.store.journal.journal import Journal
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from tests.support.journals import begin
from tests.support.manifests import MANIFEST, with_journal
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]
STORAGES = ["local disk", pytest.param("object store", marks=pytest.mark.servers)]


def new_database(request: pytest.FixtureRequest, folder: Path) -> sql.URL:
    if request.param == "sqlite":
        return sql.make_url(f"sqlite:///{folder / 'journal.sqlite'}")
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.new_database()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> sql.URL:
    """An empty database. For only one kind, mark `pytest.mark.parametrize("url", ["sqlite"], indirect=True)`."""
    return new_database(request, tmp_path)


@pytest.fixture
def journal(url: sql.URL) -> Iterator[Journal]:
    journal = begin(url)
    yield journal
    journal.close()


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A journal that all tests of a module write to."""
    journal = begin(new_database(request, tmp_path_factory.mktemp("shared")))
    yield journal
    journal.close()


def new_location(request: pytest.FixtureRequest, folder: Path) -> str:
    """Return an empty location for a run, a path or a URI."""
    if request.param == "local disk":
        return str(folder / "run")
    object_store: ObjectStoreServer = request.getfixturevalue("object_store")
    return object_store.uri(f"{object_store.new_bucket()}/run")


@pytest.fixture(params=STORAGES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_location(request, tmp_path)


@pytest.fixture
def manifest(location: str, request: pytest.FixtureRequest) -> RunManifest:
    """The manifest of a run, whose journal is beside it on a local disk and in PostgreSQL for an object store."""
    if not is_uri(location):
        return MANIFEST
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return with_journal(str(postgres.new_database()))


@pytest.fixture
def store(location: str, manifest: RunManifest) -> RunStore:
    store = RunStore(location)
    create_run(store, manifest)
    return store


@pytest.fixture
def local_store(tmp_path: Path) -> RunStore:
    store = RunStore(str(tmp_path / "run"))
    create_run(store, MANIFEST)
    return store
