from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.object_store_server import ObjectStoreServer, credentials
from tests.support.postgres_server import PostgresServer

# No deadline: the first example pays for imports and for a cold disk.
settings.register_profile("change", deadline=None, max_examples=10)
settings.register_profile("nightly", settings.get_profile("change"), max_examples=300)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true", help="run the tests marked `nightly`, and 300 examples of each law"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nightly: takes too long for every change; runs with --nightly")
    if not config.getoption("--hypothesis-profile", default=None):
        settings.load_profile("nightly" if config.getoption("--nightly") else "change")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--nightly"):
        for item in items:
            if item.get_closest_marker("nightly"):
                item.add_marker(pytest.mark.skip(reason="takes too long for every change: run it with --nightly"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests of a process, ready in a second. Each test creates a database of its own."""
    server = PostgresServer("fsync=off")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStoreServer]:
    """One S3 server for all tests of a process, ready in a second. Each test creates a bucket of its own."""
    with credentials():
        server = ObjectStoreServer()
        yield server
        server.stop()
