import gc
import os
from collections.abc import Iterator, Mapping
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.support.object_store_server import ObjectStoreServer, credentials
from tests.support.postgres_server import PostgresServer

# No deadline: the first example pays for imports and for a cold disk.
settings.register_profile("change", deadline=None, max_examples=10)
settings.register_profile("nightly", settings.get_profile("change"), max_examples=300)

REASONS: Mapping[str, str] = {
    "nightly": "takes too long for every change",
    "servers": "starts PostgreSQL or an S3 server",
}
"""Marker -> why a test with it is skipped, unless pytest is called with the flag of that name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, reason in REASONS.items():
        parser.addoption(f"--{name}", action="store_true", help=f"also run tests that are marked `{name}`: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    for name, reason in REASONS.items():
        config.addinivalue_line("markers", f"{name}: {reason}; runs with --{name} only")
    if not config.getoption("--hypothesis-profile", default=None):
        settings.load_profile("nightly" if config.getoption("--nightly") else "change")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [name for name in REASONS if not config.getoption(f"--{name}")]
    for item in items:
        for name in left_out:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"{REASONS[name]}; run it with --{name}"))


@pytest.fixture(scope="module", autouse=True)
def short_garbage_collections() -> None:
    """Exempt what is imported, and what earlier modules keep, from each later garbage collection.

    A collection of millions of objects takes a second, and each probe of a model has one.
    """
    gc.collect()
    gc.freeze()


# Every run of a test is its own, as in any CI. `system/test_threats.py` tests what happens without this.
os.environ["RAYMU_TRUST"] = "all"
# No test keeps anchors in the home of whoever runs it.
_anchors = TemporaryDirectory(prefix="raymu-anchors-")
os.environ["RAYMU_ANCHORS"] = _anchors.name


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
