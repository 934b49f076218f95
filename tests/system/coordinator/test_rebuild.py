"""Lost files are restored, and an old copy is brought up to date, before anything is served."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raymu.core.records import SampleId, ShardLineage, ShardState
from raymu.core.verdict import Verdict
from raymu.errors import FileCorrupt, FileMissing, RunInvalid, SamplesLost
from raymu.service.coordinator import publisher
from raymu.service.coordinator.calls import RebuildResult
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.prediction import Ensemble
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.layout import samples_stem
from raymu.store.run import RunStore
from tests.support.coordinated_run import (
    constituent_of,
    ids_at,
    issued_receipts,
    lineage_of,
    opened,
    raw_ids_in_journal,
    until_nothing_moves,
)
from tests.support.examples import create_run, make_config, repaired_weights, write_samples
from tests.support.scripted_fleet import ScriptedFleet


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in `run`, in which one sample was revoked and its shard retrained."""
    folder = tmp_path_factory.mktemp("rebuilt")
    write_samples(folder / "all.parquet", samples=80)
    create_run(make_config(folder / "all.parquet"), folder / "run")
    with opened(folder / "run") as run:
        run.revoke(own_ids(folder / "run", slice_index=1)[:1], strategy="sisa")
    return folder


@pytest.fixture
def location(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def own_ids(location: Path, *, slice_index: int) -> list[SampleId]:
    return ids_at(RunStore(str(location)).config, shard=0, slice_index=slice_index)


def rebuild(location: Path, data: Path | None = None) -> RebuildResult:
    with opened(location) as run:
        return asyncio.run(run.coordinator.rebuild(no_progress, data=None if data is None else str(data)))


def check_journal_url(location: Path) -> None:
    verification = verify(RunStore(str(location)), no_progress, replay=[0, 1])
    assert [finding for check in verification.checks for finding in check.findings] == []


def change(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


STATES: dict[str, Callable[[ShardLineage], str]] = {
    "first stage": lambda lineage: lineage.checkpoints[0].file.path if lineage.checkpoints[0] else "",
    "last stage": lambda lineage: lineage.serving.file.path,
}


@pytest.mark.parametrize("damage", [change, Path.unlink])
@pytest.mark.parametrize("state", STATES)
def test_a_lost_state_is_trained_again_from_the_sound_one_before_it(
    location: Path, state: str, damage: Callable[[Path], None]
) -> None:
    weights, lineage = repaired_weights(location), lineage_of(location, 0)
    path = STATES[state](lineage)
    damage(location / path)
    if state == "last stage":
        with pytest.raises((FileCorrupt, FileMissing), match="raymu rebuild"):
            Ensemble.current(RunStore(str(location)))
    report = rebuild(location)
    assert (report.files, report.shards) == ((path,), (0,))
    assert repaired_weights(location) == weights
    check_journal_url(location)


def test_rebuilding_does_not_wait_for_shards_of_another_caller(location: Path) -> None:
    (location / lineage_of(location, 0).serving.file.path).unlink()

    async def rebuild_beside_another() -> None:
        coordinator = Coordinator(RunStore(str(location)), ScriptedFleet(RunStore(str(location)), hold=[1]))
        ids = ids_at(RunStore(str(location)).config, shard=1)
        other = asyncio.create_task(coordinator.revoke([Revocation(ids=(ids[0],), strategy="dpus")], no_progress))
        await until_nothing_moves()
        rebuilding = asyncio.create_task(coordinator.rebuild(no_progress))
        await until_nothing_moves()
        assert (rebuilding.done(), other.done()) == (True, False)
        assert rebuilding.result().shards == (0,)
        assert constituent_of(location, 0).state is ShardState.EXACT

    asyncio.run(rebuild_beside_another())


def test_lost_files_of_a_running_shard_are_restored_before_rebuilding_ends(location: Path) -> None:
    async def rebuild_what_another_is_at() -> None:
        fleet = ScriptedFleet(RunStore(str(location)), hold=[0])
        coordinator = Coordinator(RunStore(str(location)), fleet)
        revocation = Revocation(ids=tuple(own_ids(location, slice_index=2)[:1]), strategy="dpus")
        other = asyncio.create_task(coordinator.revoke([revocation], no_progress))
        await until_nothing_moves()
        (location / STATES["first stage"](lineage_of(location, 0))).unlink()
        rebuilding = asyncio.create_task(coordinator.rebuild(no_progress))
        await until_nothing_moves()
        fleet.gates[0].set()
        await asyncio.gather(other, rebuilding)
        assert constituent_of(location, 0).state is ShardState.EXACT
        await coordinator.close()

    asyncio.run(rebuild_what_another_is_at())
    check_journal_url(location)


def test_until_it_is_retrained_a_damaged_shard_serves_its_sound_state(location: Path) -> None:
    (location / lineage_of(location, 0).serving.file.path).unlink()
    with (
        pytest.raises(Exception, match="the worker is gone"),
        opened(location, ScriptedFleet(RunStore(str(location)), fail_after=0)) as run,
    ):
        asyncio.run(run.coordinator.rebuild(no_progress))
    served = constituent_of(location, 0)
    assert (served.state, served.stages_trained) == (ShardState.REWOUND, 2)
    Ensemble.current(RunStore(str(location)))
    with opened(location) as run:
        run.settle()
    check_journal_url(location)


def test_a_lost_patch_is_made_exact_instead(location: Path) -> None:
    with opened(location) as run:
        request_id = run.revoke(own_ids(location, slice_index=1)[1:3], strategy="dpus").request_id
    (location / lineage_of(location, 0).serving.file.path).unlink()
    rebuild(location)
    assert constituent_of(location, 0).state is ShardState.EXACT
    assert [
        receipt.settled_at is not None for receipt in issued_receipts(location) if receipt.request_id == request_id
    ][-1]
    check_journal_url(location)


def test_lost_samples_are_restored_only_from_the_users_file_without_revoked_ones(location: Path, trained: Path) -> None:
    lineage = lineage_of(location, 0)
    (location / lineage.table.path).unlink()
    with pytest.raises(SamplesLost, match="--training-data") as lost:
        rebuild(location)
    assert "pyarrow" not in str(lost.value)
    write_samples(location.parent / "other.parquet", samples=40)
    with pytest.raises(SamplesLost):
        rebuild(location, location.parent / "other.parquet")
    rebuild(location, trained / "all.parquet")
    assert lineage_of(location, 0) == lineage
    check_journal_url(location)


def train_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, writer: dict[str, object]) -> Path:
    """A run whose tables were written differently, and one of which was lost afterwards.

    Args:
        writer: The setting that differs.
    """
    write_samples(folder / "all.parquet", samples=80)
    with monkeypatch.context() as there:
        for name, value in writer.items():
            there.setattr(name, value)
        create_run(make_config(folder / "all.parquet"), folder / "run")
    (folder / "run" / lineage_of(folder / "run", 0).table.path).unlink()
    return folder / "run"


def test_lost_samples_that_another_pyarrow_wrote_need_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = "raymu.store.table_format._OPTIONS"
    in_other_bytes = {"compression": "gzip"}
    writer: dict[str, object] = {"pyarrow.__version__": "20.1.0+g17", options: in_other_bytes}
    location = train_elsewhere(tmp_path, monkeypatch, writer)
    with pytest.raises(SamplesLost, match=r"with pyarrow 20\.1\.0 installed"):
        rebuild(location, tmp_path / "all.parquet")
    monkeypatch.setattr(options, in_other_bytes)
    rebuild(location, tmp_path / "all.parquet")
    check_journal_url(location)


def test_lost_samples_whose_file_does_not_name_its_writer_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = train_elsewhere(tmp_path, monkeypatch, {"raymu.store.stored_samples.table_stem": samples_stem})
    with pytest.raises(SamplesLost) as lost:
        rebuild(location)
    assert "pyarrow" not in str(lost.value)
    rebuild(location, tmp_path / "all.parquet")
    check_journal_url(location)


def test_lost_samples_are_restored_while_a_request_waits(location: Path, trained: Path) -> None:
    with (
        pytest.raises(Exception, match="the worker is gone"),
        opened(location, ScriptedFleet(RunStore(str(location)), fail_after=0)) as run,
    ):
        run.revoke(own_ids(location, slice_index=2)[:1], strategy="sisa")
    (location / lineage_of(location, 0).table.path).unlink()
    rebuild(location, trained / "all.parquet")
    assert raw_ids_in_journal(location) == 0
    check_journal_url(location)


def test_a_lost_generation_is_published_again(location: Path) -> None:
    weights = repaired_weights(location)
    [path] = (location / "generations").iterdir()
    change(path)
    with pytest.raises(FileCorrupt):
        RunStore(str(location)).current()
    assert rebuild(location).shards == ()
    assert repaired_weights(location) == weights
    assert RunStore(str(location)).current().cause == "rebuild"
    check_journal_url(location)


@pytest.mark.parametrize("place", [0, 1])
def test_a_lost_record_of_changes_is_found_and_a_whole_generation_published(
    location: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """As in a run of many shards, whose generations are records of changes, built on a whole one."""
    monkeypatch.setattr(publisher, "RECORD_WEIGHT", -1)  # and so a whole one would never come
    with opened(location) as run:
        run.revoke(own_ids(location, slice_index=2)[:1], strategy="sisa")
    chain = sorted((location / "generations").iterdir())
    assert len(chain) > 2, "the whole one, the rewound one and the repaired one"
    assert verify(RunStore(str(location)), no_progress).verdict is Verdict.PASS
    weights = repaired_weights(location)
    change(chain[place])
    findings = [finding for check in verify(RunStore(str(location)), no_progress).checks for finding in check.findings]
    assert any(chain[place].name in finding.what for finding in findings)
    assert rebuild(location).shards == ()
    assert repaired_weights(location) == weights
    assert len([*(location / "generations").iterdir()]) == 1
    assert verify(RunStore(str(location)), no_progress).verdict is Verdict.PASS


def test_rebuilding_changes_nothing_in_a_sound_run(location: Path) -> None:
    generation = RunStore(str(location)).current()
    report = rebuild(location)
    assert (report.files, report.shards, report.generation) == ((), (), generation.number)


@pytest.mark.parametrize("strategy", ["sisa", "dpus"])
@pytest.mark.parametrize("next_call", ["settle", "revoke"])
def test_files_from_an_old_copy_have_the_revocations_repeated_before_anything_is_served(
    location: Path, tmp_path: Path, strategy: str, next_call: str
) -> None:
    old = Path(shutil.copytree(location, tmp_path / "old"))
    with opened(location) as run:
        run.revoke(own_ids(location, slice_index=1)[1:3], strategy=strategy)
        run.settle()
    weights = repaired_weights(location)
    for name in ("samples", "shards", "generations"):
        shutil.rmtree(location / name)
        shutil.copytree(old / name, location / name)
    with pytest.raises(RunInvalid, match="raymu settle"):
        Ensemble.current(RunStore(str(location)))
    with opened(location) as run:
        if next_call == "settle":
            run.settle()
            assert repaired_weights(location) == weights
        else:
            run.revoke(own_ids(location, slice_index=1)[3:4], strategy="sisa")
    check_journal_url(location)


def test_an_untrained_run_is_not_rebuilt(tmp_path: Path) -> None:
    from raymu.service.ingest import prepare_run

    write_samples(tmp_path / "all.parquet", samples=80)
    prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    with pytest.raises(RunInvalid, match="not trained yet"):
        asyncio.run(Coordinator(store, LocalFleet(store)).rebuild(no_progress))


@pytest.mark.parametrize("policy", ["uniform", "owner"])
def test_lost_routes_are_made_again_and_missed_by_no_request(tmp_path: Path, policy: str) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=80)
    config = make_config(tmp_path / "all.parquet", data={"owner": "owner"}, partition={"policy": policy})
    create_run(config, tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))
    [lost] = store.manifest.routes or ()
    store.files.delete(lost.path)
    owner, sample_id = table["owner"][0].as_py(), table["id"][0].as_py()
    with opened(tmp_path / "run") as run:
        run.revoke([sample_id], strategy="sisa")
    assert verify(RunStore(str(tmp_path / "run")), no_progress).verdict is Verdict.FAIL
    rebuild(tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))
    assert verify(store, no_progress).verdict is Verdict.PASS
    assert all(store.files.exists(ref.path) for ref in store.manifest.routes or ())
    with opened(tmp_path / "run") as run:
        results = asyncio.run(run.coordinator.revoke([Revocation(owner=owner, strategy="sisa")], no_progress))
    assert verify(RunStore(str(tmp_path / "run")), no_progress).verdict is Verdict.PASS
    assert results
