from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from raymu.store.journal import Journal
from tests.postgres import PostgresServer
from tests.unit.store.journals import begin

DATABASES = ["sqlite", "postgresql"]


def new_database(request: pytest.FixtureRequest, folder: Path) -> sql.URL:
    if request.param == "sqlite":
        return sql.make_url(f"sqlite:///{folder / 'journal.sqlite'}")
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.new_database()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> sql.URL:
    """An empty database; of one kind alone: `pytest.mark.parametrize("url", ["sqlite"], indirect=True)`."""
    return new_database(request, tmp_path)


@pytest.fixture
def journal(url: sql.URL) -> Iterator[Journal]:
    journal = begin(url)
    yield journal
    journal.close()


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A journal that a module's tests write into one after the other."""
    journal = begin(new_database(request, tmp_path_factory.mktemp("shared")))
    yield journal
    journal.close()
