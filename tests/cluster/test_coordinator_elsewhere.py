"""A coordinator that is up on a cluster which a command does not see. No cluster is started here."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import raymu
from raymu.cli import run_command
from raymu.errors import CoordinatorElsewhere, DeviceUnavailable
from raymu.runtime import client
from raymu.runtime.client import require_none_elsewhere
from raymu.store.presence import SILENT_AFTER, Presence
from raymu.store.run import RunStore
from tests.support.examples import train_run, write_samples
from tests.support.ray_runs import config_on_ray
from tests.support.request_scenarios import files_of


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    write_samples(folder / "all.parquet")
    asyncio.run(train_run(config_on_ray(folder / "all.parquet", shards=2), folder / "run").close())
    return folder / "run"


@pytest.fixture
def address() -> Iterator[str]:
    """Something on this machine that answers, as a cluster does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def join(_address: str | None) -> None:
        raise DeviceUnavailable("a cluster would be joined")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(client, "is_cluster_there", lambda _address: False)
    monkeypatch.setattr(client, "join_cluster", join)


def detached(address: str) -> Presence:
    return Presence.of_this_process(is_detached=True, address=address)


@pytest.mark.parametrize("words", ["revoke {run} --id 1000", "settle {run}", "rebuild {run}"])
def test_a_command_says_where_it_is_and_changes_nothing(location: Path, address: str, words: str) -> None:
    RunStore(str(location)).presence.announce(detached(address))
    before = files_of(location)
    code, line = run_command(words.format(run=location).split())
    assert code == 2
    assert f"its coordinator is up on the Ray cluster at {address} (process " in line
    assert f"add --address {address} or, if that cluster is gone for good, --take-over" in line
    assert files_of(location) == before


def test_it_is_taken_over_if_that_is_asked_for(location: Path, address: str) -> None:
    RunStore(str(location)).presence.announce(detached(address))
    assert "a cluster would be joined" in run_command(["settle", str(location), "--take-over"])[1]
    with pytest.raises(DeviceUnavailable, match="a cluster would be joined"):
        raymu.open_run(location, take_over=True).settle()
    with pytest.raises(CoordinatorElsewhere):
        raymu.open_run(location).settle()


def test_one_that_is_certainly_gone_or_ends_with_its_command_is_taken_over_without_asking(
    location: Path, address: str
) -> None:
    store = RunStore(str(location))
    here = detached(address)
    for presence in (
        replace(here, address="127.0.0.1:9"),  # nothing answers
        replace(here, is_detached=False),
        replace(here, host="another-machine", seen_at=here.seen_at - 2 * SILENT_AFTER),
    ):
        store.presence.announce(presence)
        require_none_elsewhere(store)
    store.presence.announce(replace(here, host="another-machine"))
    with pytest.raises(CoordinatorElsewhere):
        require_none_elsewhere(store)
