"""Processes that work on one run at the same time wait for each other, and refuse what is refused at once."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from raymu.core.events import RevocationsAccepted
from raymu.errors import JournalBusy, UnknownSamples
from raymu.service.coordinator.process_turn import ProcessTurn
from raymu.service.requests.revocation import Revocation
from raymu.store.journal import process_lock
from tests.support.coordinated_run import journal_events
from tests.support.postgres_server import PostgresServer
from tests.support.trained_runs import TrainedRun, TrainedRunFactory

HOLD = """
import sys
from raymu.store.run import RunStore
assert RunStore(sys.argv[1]).process_lock().try_hold()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(run: TrainedRun) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the run's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.location)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("commands", [2, pytest.param(10, marks=pytest.mark.nightly)])
def test_commands_that_start_at_once_are_all_carried_out(trained_run: TrainedRunFactory, commands: int) -> None:
    run = trained_run()
    ids = run.ids()[:commands]
    command = [sys.executable, "-m", "raymu.cli", "revoke", str(run.location), "--json", "--id"]
    processes = [
        subprocess.Popen([*command, str(sample_id)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for sample_id in ids
    ]
    printed = [(*process.communicate(), process.returncode) for process in processes]
    assert [code for *_, code in printed] == [0] * commands, printed
    assert all(json.loads(out)["purged_at"] for out, *_ in printed)
    accepted = [event for event in journal_events(run.location) if isinstance(event, RevocationsAccepted)]
    assert len(accepted) == commands


def test_a_request_that_is_refused_does_not_wait(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    with held_elsewhere(run), pytest.raises(UnknownSamples):
        ProcessTurn(run.store).take([Revocation(ids=(-1,))])


def test_a_process_waits_for_one_that_writes_says_so_and_gives_up_on_one_that_does_not(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained_run()
    monkeypatch.setattr(process_lock, "WAIT_S", 1.0)
    monkeypatch.setattr(process_lock, "_CHECK_S", 0.1)
    monkeypatch.setattr(process_lock, "_SAY_AFTER_S", 0.0)
    positions = iter(range(10))
    began = time.monotonic()
    with held_elsewhere(run), caplog.at_level(logging.WARNING), pytest.raises(JournalBusy, match="end it; then run"):
        run.store.process_lock().hold(lambda: next(positions, 10))
    assert time.monotonic() - began > 2.0  # ten signs of life, and then one second
    assert "waiting for another raymu that is at work on this run" in caplog.text


def test_the_system_ends_the_lock_of_a_process_that_is_killed(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    lock = run.store.process_lock()
    with held_elsewhere(run) as process:
        assert not lock.try_hold()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert lock.try_hold()
    lock.release()


def test_the_objects_of_one_process_share_its_lock(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    first, second = ProcessTurn(run.store), ProcessTurn(run.store)
    first.take()
    second.take()
    first.leave()
    first.leave()
    assert not can_hold_elsewhere(run)
    second.leave()
    assert can_hold_elsewhere(run)


def can_hold_elsewhere(run: TrainedRun) -> bool:
    process = subprocess.run(
        [sys.executable, "-c", HOLD, str(run.location)], input="", capture_output=True, check=False, text=True
    )
    return process.returncode == 0


@pytest.mark.servers
def test_a_lock_in_a_shared_database_holds_between_machines(postgres: PostgresServer) -> None:
    from raymu.store.journal.database import Database

    url = postgres.new_database()
    release: Callable[[], None] | None = Database(url).try_lock("a run")
    assert release
    assert Database(url).try_lock("a run") is None
    other = Database(url).try_lock("another run")
    assert other
    other()
    release()
    again = Database(url).try_lock("a run")
    assert again
    again()
