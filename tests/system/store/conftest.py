from collections.abc import Iterator

import pytest
import sqlalchemy as sql

from raymu.store.journal.journal import Journal
from tests.support.journals import begin
from tests.support.postgres_server import PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> sql.URL:
    """An empty database on PostgreSQL."""
    return postgres.new_database()


@pytest.fixture
def journal(url: sql.URL) -> Iterator[Journal]:
    journal = begin(url)
    yield journal
    journal.close()
