from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.object_store_server import ObjectStoreServer, credentials
from tests.support.postgres_server import PostgresServer

# No deadline: the first example pays for imports and for a cold disk.
settings.register_profile("raymu", deadline=None, max_examples=30)
settings.register_profile("thorough", settings.get_profile("raymu"), max_examples=300)
settings.load_profile("raymu")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests that ask for it, up in a second: each takes a database of its own."""
    server = PostgresServer("fsync=off")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStoreServer]:
    """One server for all tests that ask for it, up in a second: each takes a bucket of its own."""
    with credentials():
        server = ObjectStoreServer()
        yield server
        server.stop()
