"""A sound run passes verification, and a run that is not sound or not exact never does."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from raymu.console.fleet_progress import FleetProgress
from raymu.core.events import Event, ShardFailed, ShardRepaired
from raymu.core.verdict import Verdict
from raymu.errors import RequestInvalid, RunFormatTooNew, RunInvalid
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.executor import Executor
from raymu.service.ingest import prepare_run
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import RepairTask, StageProgress, no_progress
from raymu.service.verify.verify import Verification, verify
from raymu.store.journal.event_chain import next_head
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events, opened
from tests.support.examples import make_config, train_run, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.system.verify.forgery import execute


def verified(location: Path, **options: object) -> Verification:
    return verify(RunStore(str(location)), no_progress, **options)  # type: ignore[arg-type]


def verdicts(verification: Verification) -> dict[str, str]:
    """Return the verdicts of the checks that do not pass."""
    return {check.name: check.verdict for check in verification.checks if check.verdict is not Verdict.PASS}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    write_samples(folder / "all.parquet", samples=80)
    run = train_run(make_config(folder / "all.parquet"), folder / "run")
    asyncio.run(run.close())
    return folder / "run"


@pytest.fixture
def location(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def revoke_some(location: Path, strategy: str, number: int = 0) -> str:
    """Revoke one sample. Returns the id of the request."""
    config = RunStore(str(location)).config
    with opened(location) as run:
        return run.revoke(ids_at(config, shard=0, slice_index=1)[number : number + 1], strategy=strategy).request_id


def settle(location: Path) -> None:
    with opened(location) as run:
        run.settle()


def test_a_run_passes_from_its_training_on(location: Path) -> None:
    assert verified(location, replay=[0, 1]).verdict is Verdict.PASS
    revoke_some(location, "sisa")
    verification = verified(location, replay=[0, 1])
    assert verification.verdict is Verdict.PASS
    assert {check.name: check.checked for check in verification.checks}["receipts"] == 1


def test_a_patched_run_is_inconclusive_until_it_is_settled(location: Path) -> None:
    revoke_some(location, "dpus")
    patched = verified(location, replay=[0, 1])
    assert verdicts(patched) == {"lineage": "inconclusive", "replay": "inconclusive"}
    settle(location)
    assert verified(location, replay=[0, 1]).verdict is Verdict.PASS


def test_a_run_with_a_running_repair_is_inconclusive(location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunStore(str(location)).config
    with opened(location, ScriptedFleet(RunStore(str(location)), fail_after=1)) as run:
        monkeypatch.setattr(Executor, "record", dying_at_a_failure(Executor.record))
        with pytest.raises(ConnectionError):
            run.revoke(ids_at(config, shard=0, slice_index=0)[:1], strategy="sisa")
        open_checks = verdicts(verified(location))
        assert open_checks == dict.fromkeys(("journal", "generation", "purge"), "inconclusive")
    settle(location)
    assert verified(location).verdict is Verdict.PASS


def test_a_shard_repaired_before_the_others_is_inconclusive(location: Path) -> None:
    """Its repaired state is served, and superseded files exist until the whole request is repaired."""
    config = RunStore(str(location)).config
    verifications: list[Verification] = []

    def look(task: RepairTask) -> None:
        if task.shard == 1:
            verifications.append(verified(location))

    first, second = (ids_at(config, shard=shard, slice_index=at)[0] for shard, at in ((0, 0), (1, 2)))
    with opened(location, ScriptedFleet(RunStore(str(location)), before=look)) as run:
        run.revoke([first, second], strategy="sisa")
    assert {event.report.shard for event in journal_events(location) if isinstance(event, ShardRepaired)} == {0, 1}
    assert verdicts(verifications[0]) == dict.fromkeys(("journal", "generation", "purge"), "inconclusive")


def test_an_event_of_a_newer_raymu_is_inconclusive(location: Path) -> None:
    revoke_some(location, "sisa")
    store = RunStore(str(location))
    term = store.fencing.term()
    payload = '{"kind":"moved","at":"2030-01-01T00:00:00Z"}'
    with closing(store.journal()) as journal:
        head = next_head(journal.head(), payload, store.keys.hash_key)
    insert = f"INSERT INTO events SELECT run, {head.sequence}, 'moved', '{payload}', '{head.seal}' FROM runs"
    execute(location, insert)
    verification = verified(location)
    assert verdicts(verification) == {"journal": "inconclusive"}
    assert f"journal event {head.sequence}: was written by a newer raymu" in verification.checks[0].findings[0].what
    with pytest.raises(RunFormatTooNew):  # and the coordinator that wrote it is not fenced out
        store.take_over()
    assert RunStore(str(location)).fencing.term() == term


def test_a_run_in_training_is_inconclusive(location: Path, tmp_path: Path) -> None:
    config = RunStore(str(location)).config
    prepare_run(config, str(tmp_path / "new")).write()
    verifications: list[Verification] = []
    coordinator = Coordinator(RunStore(str(tmp_path / "new")), LocalFleet(RunStore(str(tmp_path / "new"))))
    asyncio.run(coordinator.train(lambda _stage: verifications.append(verified(tmp_path / "new"))))
    assert {verification.verdict for verification in verifications} == {Verdict.INCONCLUSIVE}
    asyncio.run(coordinator.close())
    assert verified(tmp_path / "new").verdict is Verdict.PASS


def test_a_run_is_inconclusive_until_its_coordinator_is_closed(location: Path) -> None:
    with opened(location):
        verification = verified(location)
    assert verdicts(verification) == {"journal": "inconclusive"}
    assert "`raymu stop` stops it" in verification.checks[0].findings[0].what
    assert verified(location).verdict is Verdict.PASS


@pytest.mark.parametrize("name", [".epoch.0123.partial", "shards/0000/.stage-0-0123.safetensors.4567.partial"])
def test_a_partly_written_file_is_inconclusive(location: Path, name: str) -> None:
    """Another process may be writing it."""
    (location / name).write_bytes(b"half")
    assert verdicts(verified(location)) == {"purge": "inconclusive"}
    settle(location)
    assert verified(location).verdict is Verdict.PASS


def test_an_interrupted_takeover_is_inconclusive(location: Path) -> None:
    def die(_term: int) -> None:
        RunStore(str(location)).files.write("epoch", b"2")
        raise ConnectionError("the coordinator is gone")

    with closing(RunStore(str(location)).journal()) as journal, pytest.raises(ConnectionError):
        journal.take_over(die)
    assert verdicts(verified(location)) == {"journal": "inconclusive"}
    settle(location)
    assert verified(location).verdict is Verdict.PASS


Record = Callable[[Executor, Event], Awaitable[None]]


def dying_at_a_failure(record: Record) -> Record:
    """A coordinator that dies before it can record that a repair failed."""

    async def refuse(executor: Executor, event: Event) -> None:
        if isinstance(event, ShardFailed):
            raise ConnectionError("the coordinator is gone too")
        await record(executor, event)

    return refuse


def test_an_anchor_detects_a_run_that_was_rolled_back(location: Path, tmp_path: Path) -> None:
    before = verified(location)
    shutil.copytree(location, tmp_path / "old")
    revoke_some(location, "sisa")
    after = verified(location, anchor=before.anchor)
    assert after.verdict is Verdict.PASS
    shutil.rmtree(location)
    shutil.copytree(tmp_path / "old", location)
    assert verified(location).verdict is Verdict.PASS  # nothing in the run shows it
    assert verdicts(verified(location, anchor=after.anchor)) == {"anchor": "fail"}


@pytest.mark.parametrize("anchor", ["", "17", "x:abc", "3:"])
def test_a_malformed_anchor_is_refused(location: Path, anchor: str) -> None:
    with pytest.raises(RequestInvalid, match="not an anchor"):
        verified(location, anchor=anchor)


def test_an_unknown_shard_cannot_be_replayed(location: Path) -> None:
    with pytest.raises(RequestInvalid, match="no shard 7"):
        verified(location, replay=[7])


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match="not a run"):
        verified(tmp_path)


def test_a_replay_counts_all_its_shards_from_its_first_stage(location: Path) -> None:
    counts = []
    progress = FleetProgress(lambda: 0.0)

    def listen(stage: StageProgress) -> None:
        progress(stage)
        counts.append((progress.done, progress.shards))

    verify(RunStore(str(location)), listen, replay=[0, 1])
    stages = len(counts) // 2
    assert counts == [*[(0, 2)] * (stages - 1), *[(1, 2)] * stages, (2, 2)]
