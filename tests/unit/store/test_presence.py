"""Where a coordinator is up: what the file of a run says, and when it is taken for gone."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raymu.store import presence
from raymu.store.creation import create_run
from raymu.store.layout import PRESENCE
from raymu.store.presence import SILENT_AFTER, Presence
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST

HERE = replace(
    Presence.of_this_process(is_detached=True, address="127.0.0.1:6379"),
    seen_at=datetime.now(UTC) + timedelta(hours=1),  # these tests may begin long after they are imported
)
LONG_AGO = datetime.now(UTC) - 2 * SILENT_AFTER


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    created = RunStore(str(tmp_path / "run"))
    create_run(created, MANIFEST)
    return created


def test_what_is_announced_can_be_read_until_it_is_withdrawn(store: RunStore) -> None:
    assert store.presence.read() is None
    store.presence.announce(HERE)
    assert RunStore(store.location).presence.read() == HERE
    store.presence.withdraw()
    assert store.presence.read() is None
    assert not store.files.exists(PRESENCE)


def test_nobody_withdraws_or_refreshes_what_another_announced(store: RunStore) -> None:
    store.presence.announce(replace(HERE, seen_at=LONG_AGO))
    other = RunStore(store.location).presence
    other.announce(HERE)
    store.presence.give_sign()
    store.presence.withdraw()
    assert other.read() == HERE


def test_a_sign_of_life_is_written_again_and_again_until_it_is_withdrawn(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SIGN_EVERY", timedelta(milliseconds=10))
    store.presence.announce(replace(HERE, seen_at=LONG_AGO))
    first = next(seen for seen in signs(store) if seen > LONG_AGO)
    assert next(seen for seen in signs(store) if seen > first)
    store.presence.withdraw()
    assert not store.files.exists(PRESENCE)
    time.sleep(0.05)
    assert not store.files.exists(PRESENCE)


def signs(store: RunStore) -> Iterator[datetime]:
    while True:
        read = store.presence.read()
        assert read
        yield read.seen_at


@pytest.mark.parametrize("payload", [b"", b"{", b"{}", b"[" * 10_000, b'{"seal": "00", "address": "evil:80"}'])
def test_a_file_that_is_not_raymus_says_nothing(store: RunStore, payload: bytes) -> None:
    store.files.write(PRESENCE, payload)
    assert store.presence.read() is None


def test_a_process_on_this_machine_has_ended_when_it_has() -> None:
    assert not HERE.is_ended
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert replace(HERE, process=process.pid).is_ended
    if HERE.started:  # another process has its number by now
        assert replace(HERE, started="1").is_ended
    assert not replace(HERE, process=os.getppid(), started=None).is_ended


def test_a_process_elsewhere_has_ended_after_a_long_silence() -> None:
    elsewhere = replace(HERE, host="another-machine")
    assert not elsewhere.is_ended
    assert replace(elsewhere, seen_at=LONG_AGO).is_ended
    assert not elsewhere.is_cluster_gone
    assert replace(elsewhere, seen_at=LONG_AGO).is_cluster_gone


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_cluster_on_this_machine_is_gone_when_nothing_answers_at_its_address(listening: str) -> None:
    assert not replace(HERE, address=listening, seen_at=LONG_AGO).is_cluster_gone
    assert replace(HERE, address="127.0.0.1:9").is_cluster_gone


@pytest.mark.parametrize("address", ["nonsense", "example.org:6379", "192.0.2.1:6379", "127.0.0.1:many"])
def test_no_other_machine_is_asked_whatever_the_file_names(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket, "create_connection", connect)
    assert not replace(HERE, address=address).is_cluster_gone
    assert replace(HERE, address=address, seen_at=LONG_AGO).is_cluster_gone


def test_it_says_who_and_since_when_and_how_long_it_is_silent() -> None:
    assert f"process {os.getpid()} on {socket.gethostname()}, since {HERE.up_since:%Y-%m-%d}" in str(HERE)
    assert "last seen" not in str(HERE)
    ago = datetime.now(UTC) - timedelta(minutes=5)
    assert "last seen 5 min" in str(replace(HERE, seen_at=ago)) or "last seen 0:05" in str(replace(HERE, seen_at=ago))
    assert "\x1b" not in str(replace(HERE, host="\x1b[2Jhost"))
