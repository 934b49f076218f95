"""A failure after the acceptance of a request never looks like a refusal, and what would fail later is checked before."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raymu.api import Run
from raymu.cli import run_command
from raymu.core.events import RevocationsAccepted
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RaymuError, StorageFailed, unfinished_requests
from raymu.service.coordinator.client import LocalClient
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.publisher import Publisher
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.store.journal.fencing import Fencing
from raymu.store.run import RunStore
from tests.support.coordinated_run import journal_events
from tests.support.faults import FaultyDisk, fail
from tests.support.trained_runs import TrainedRun, TrainedRunFactory


def accepted(location: Path) -> list[str]:
    events = (event for event in journal_events(location) if isinstance(event, RevocationsAccepted))
    return [request.request_id for event in events for request in event.requests]


def revoke_and_fail(run: TrainedRun, disk: FaultyDisk) -> BaseException | None:
    """Revoke a sample on a disk that may fail. Return the error."""
    store = RunStore(str(run.location), disk.files(str(run.location)))
    try:
        with disk.counting_commits():
            coordinator = Coordinator(store, LocalFleet(store))
            asyncio.run(coordinator.revoke([Revocation(ids=(run.ids(shard=0)[0],))], no_progress))
    except (RaymuError, OSError) as error:
        return error
    return None


def test_an_error_names_a_request_if_and_only_if_it_was_accepted(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    sound = shutil.copytree(run.location, run.location.with_name("sound"))
    disk = FaultyDisk(0, fail)
    assert revoke_and_fail(run, disk) is None
    outcomes = set()
    for at in range(1, disk.steps + 1, 3):
        shutil.rmtree(run.location)
        shutil.copytree(sound, run.location)
        failing = FaultyDisk(at, fail)
        failing.arm(at, fail, is_lasting=True)
        error = revoke_and_fail(run, failing)
        outcomes.add(bool(accepted(run.location)))
        assert list(unfinished_requests(error) or ()) == accepted(run.location), (at, error)
    assert outcomes == {False, True}


@pytest.mark.parametrize("words", [["--id"], ["--json", "--id"]], ids=["text", "json"])
def test_a_command_that_fails_after_the_acceptance_exits_4_and_names_the_request(
    trained_run: TrainedRunFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    run = trained_run()

    def full(*_: object) -> None:
        raise StorageFailed("generations", "No space left on device")

    monkeypatch.setattr(Publisher, "_purge", full)
    code, line = run_command(["revoke", str(run.location), *words, str(run.ids(shard=0)[0])])
    [request_id] = accepted(run.location)
    assert code == 4
    assert f"1 request accepted before ({request_id}) stays: `raymu settle` finishes it" in line
    if "--json" in words:
        document = json.loads(capsys.readouterr().out)
        assert (document["exit_code"], document["request_ids"]) == (4, [request_id])
        assert "No space left on device" in document["error"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "words",
    [
        ["revoke", "--json", "--id"],
        pytest.param(["revoke", "--id"], marks=pytest.mark.nightly),
        pytest.param(["settle"], marks=pytest.mark.nightly),
    ],
    ids=" ".join,
)
def test_a_result_that_cannot_be_printed_is_not_a_refusal(trained_run: TrainedRunFactory, words: list[str]) -> None:
    run = trained_run()
    words = [words[0], str(run.location), *words[1:], *([str(run.ids(shard=0)[0])] if "--id" in words else [])]
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "raymu.cli", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert process.returncode == 4
    assert "the work is done, but its result could not be printed (No space left on device)" in process.stderr
    for request_id in accepted(run.location):
        assert f"`raymu receipts RUN --request {request_id}` shows it" in process.stderr
    assert "Exception ignored" not in process.stderr


def test_a_storage_that_fails_after_the_work_is_not_a_refusal(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, is_failing = trained_run(), False
    carry_out, term = LocalClient.call, Fencing.term

    def call(client: LocalClient, *args: Any) -> Any:
        nonlocal is_failing
        result = carry_out(client, *args)
        is_failing = True
        return result

    def failing(fencing: Fencing) -> int:
        nonlocal is_failing
        if is_failing:
            is_failing = False  # the coordinator can leave the run
            raise FileUnreadable("epoch", "it does not answer")
        return term(fencing)

    def signed_receipts(*_: object) -> None:
        raise FileUnreadable("journal.sqlite", "it does not answer")

    monkeypatch.setattr(LocalClient, "call", call)
    monkeypatch.setattr(Fencing, "term", failing)
    monkeypatch.setattr(Run, "signed_receipts", signed_receipts)
    code, line = run_command(["revoke", str(run.location), "--json", "--id", str(run.ids(shard=0)[0])])
    [request_id] = accepted(run.location)
    assert code == 4
    assert "the work is done, but its result could not be printed (journal.sqlite cannot be read" in line
    assert f"`raymu receipts RUN --request {request_id}` shows it" in line


def test_a_screen_that_takes_nothing_fails_no_repair(trained_run: TrainedRunFactory) -> None:
    run = trained_run()

    def broken(_stage: object) -> None:
        raise OSError("No space left on device")

    revocation = Revocation(ids=(run.ids(shard=0)[0],), strategy="sisa")
    [receipt] = asyncio.run(run.coordinator.revoke([revocation], broken))
    assert receipt.purged_at


def lose_signing_key(location: Path) -> None:
    (location / "signing.key").unlink()


def lose_hash_key(location: Path) -> None:
    (location / "hash.key").unlink()


def change_signing_key(location: Path) -> None:
    (location / "signing.key").write_text("0" * 64)


def lose_public_key(location: Path) -> None:
    (location / "signing.pub").unlink()


@pytest.mark.parametrize("harm", [lose_signing_key, lose_hash_key, change_signing_key, lose_public_key])
def test_a_key_that_the_end_needs_is_checked_before_the_acceptance(
    trained_run: TrainedRunFactory, harm: object
) -> None:
    run = trained_run()
    coordinator = run.coordinator
    harm(run.location)  # type: ignore[operator]
    for call in (coordinator.revoke, coordinator.submit):
        with pytest.raises((FileMissing, FileCorrupt)) as refusal:
            asyncio.run(call([Revocation(ids=(run.ids(shard=0)[0],))], no_progress))
        assert unfinished_requests(refusal.value) is None
    assert run.coordinator.receipts() == ()
