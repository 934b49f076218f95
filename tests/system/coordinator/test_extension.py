"""A run grows: samples are added as further slices, and the result is that of training from scratch with this history."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.config import Config
from raymu.core.partition import identity_hashes
from raymu.core.records import Exactness, SampleId, ShardState
from raymu.core.verdict import Verdict
from raymu.data.tables import read_table
from raymu.errors import DataInvalid, RequestInvalid, SamplesLost, ShardRepairFailed
from raymu.service.audit.forget_set import AuditScope, find_forgotten
from raymu.service.coordinator.calls import ExtendResult
from raymu.service.extension import Extension
from raymu.service.history_parts import added_homes, sample_homes
from raymu.service.requests.revocation import Revocation
from raymu.service.run_spec import spec_of
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.training.batches import ShardSamples
from raymu.training.stages import StageTask, train_stages
from tests.support.coordinated_run import until_nothing_moves
from tests.support.examples import write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import TrainedRun, TrainedRunFactory

OLD, ALL = 120, 180
PARTITION = {"shards": 2, "slices": 2, "seed": 3}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of two times 30 further samples of the same problem."""
    folder = tmp_path_factory.mktemp("more")
    whole = write_samples(folder / "whole.parquet", samples=ALL)
    pq.write_table(whole.slice(0, OLD), folder / "old.parquet")
    for number, start in enumerate((OLD, OLD + 30), start=1):
        pq.write_table(whole.slice(start, 30), folder / f"more-{number}.parquet")
    return folder / "more-1.parquet", folder / "more-2.parquet"


@pytest.fixture
def run(trained_run: TrainedRunFactory) -> TrainedRun:
    return trained_run(samples={"samples": OLD}, partition=PARTITION)


def extend(run: TrainedRun, data: Path, **options: Any) -> ExtendResult:
    extension = Extension(data=str(data), **options)
    return asyncio.run(run.coordinator.extend(extension, no_progress))


def ids_of(path: Path) -> list[SampleId]:
    ids: list[SampleId] = pq.read_table(path)["id"].to_pylist()
    return ids


def weights_from_scratch(
    run: TrainedRun, added: Sequence[tuple[Path, int]], epochs: Sequence[int], *, without: Collection[SampleId] = ()
) -> dict[int, str]:
    """Train every shard from nothing on the history of slices, without some samples.

    Args:
        run: The run.
        added: File and number of slices of each extension.
        epochs: Epochs of each added stage.
        without: Ids that the training never sees.
    """
    config = run.config
    parts = [read_table(config.data.train, config.data)]
    homes, first = [sample_homes(parts[0], config.partition)], config.partition.slices
    for path, slices in added:
        parts.append(read_table(str(path), config.data))
        homes.append(added_homes(parts[-1], config.partition, first=first, slices=slices))
        first += slices
    weights = {}
    for shard in range(config.partition.shards):
        samples = []
        for table, (shards, slices_of) in zip(parts, homes, strict=True):
            rows = np.flatnonzero((shards == shard) & ~np.isin(table.ids, list(without)))
            hashes = identity_hashes(table.ids[rows].tolist(), seed=config.partition.seed, purpose="sample")
            samples.append(ShardSamples.ordered(table.take(rows), hashes=hashes, slices=slices_of[rows]))
        task = StageTask(
            spec=spec_of(run.store, added_epochs=tuple(epochs)),
            shard=shard,
            samples=ShardSamples.joined(samples),
            first=0,
            checkpoint=None,
            contributions=config.unlearning.contributions,
            device=config.device,
            threads=config.cluster.threads,
        )
        *_, last = train_stages(task)
        weights[shard] = last.weights_sha256
    return weights


def findings(run: TrainedRun) -> list[str]:
    asyncio.run(run.coordinator.close())
    verification = verify(run.store, no_progress, replay=[0, 1])
    return [str(finding) for check in verification.checks for finding in check.findings]


def test_an_extended_run_equals_one_trained_from_scratch_with_its_history_of_slices(
    run: TrainedRun, tables: tuple[Path, Path]
) -> None:
    before = run.store.current().lineages
    first = extend(run, tables[0])
    assert (first.samples, first.slices, first.shards) == (30, 3, (0, 1))
    assert extend(run, tables[1], slices=2, epochs=1).slices == 5
    last = run.config.epochs_per_stage[-1]
    assert run.weights == weights_from_scratch(run, [(tables[0], 1), (tables[1], 2)], [last, 1, 1])
    for old, new in zip(before, run.store.current().lineages, strict=True):
        assert new.checkpoints[:2] == old.checkpoints, "nothing earlier is trained again"
    assert findings(run) == []


def test_after_forgetting_old_and_new_samples_it_equals_one_that_never_held_them(
    run: TrainedRun, tables: tuple[Path, Path]
) -> None:
    extend(run, tables[0], slices=2)
    forget = [run.ids(shard=0, slice_index=1)[0], ids_of(tables[0])[3], ids_of(tables[0])[7]]
    receipt = run.revoke(forget, strategy="sisa")
    assert receipt.exactness is Exactness.EXACT
    epochs = [run.config.epochs_per_stage[-1]] * 2
    assert run.weights == weights_from_scratch(run, [(tables[0], 2)], epochs, without=forget)
    assert findings(run) == []


def test_a_patched_shard_is_settled_by_an_extension(run: TrainedRun, tables: tuple[Path, Path]) -> None:
    forget = [run.ids(shard=1, slice_index=1)[0]]
    assert not run.revoke(forget, strategy="dpus").is_exact
    extend(run, tables[0])
    [receipt] = run.coordinator.receipts()
    assert receipt.is_exact
    epochs = [run.config.epochs_per_stage[-1]]
    assert run.weights == weights_from_scratch(run, [(tables[0], 1)], epochs, without=forget)
    assert findings(run) == []


def test_requests_that_arrive_during_an_extension_are_carried_out_after_it(
    run: TrainedRun, tables: tuple[Path, Path]
) -> None:
    forget = (run.ids(shard=0, slice_index=0)[0], *ids_of(tables[0])[:4])

    async def revoke_meanwhile() -> None:
        fleet = ScriptedFleet(run.store, hold=[0, 1])
        coordinator = run.open(fleet)
        extending = asyncio.create_task(coordinator.extend(Extension(data=str(tables[0])), no_progress))
        await until_nothing_moves()
        served = run.store.current().constituents
        assert {each.state for each in served} == {ShardState.EXACT}, "the earlier states vote until the new ones can"
        assert {each.stages_trained for each in served} == {2}
        revoking = asyncio.create_task(coordinator.revoke([Revocation(ids=forget, strategy="sisa")], no_progress))
        await until_nothing_moves()
        for gate in fleet.gates.values():
            gate.set()
        await asyncio.gather(extending, revoking)
        await coordinator.close()

    asyncio.run(revoke_meanwhile())
    epochs = [run.config.epochs_per_stage[-1]]
    assert run.weights == weights_from_scratch(run, [(tables[0], 1)], epochs, without=forget)
    assert verify(run.store, no_progress).verdict is Verdict.PASS


def test_settling_finishes_an_extension_that_was_interrupted(run: TrainedRun, tables: tuple[Path, Path]) -> None:
    lost = ScriptedFleet(run.store, fail_after=1)
    coordinator = run.open(lost)
    with pytest.raises(ShardRepairFailed):
        asyncio.run(coordinator.extend(Extension(data=str(tables[0]), slices=2), no_progress))
    asyncio.run(coordinator.close())
    assert verify(run.store, no_progress).verdict is Verdict.INCONCLUSIVE
    run.settle()
    epochs = [run.config.epochs_per_stage[-1]] * 2
    assert run.weights == weights_from_scratch(run, [(tables[0], 2)], epochs)
    assert findings(run) == []


def rows(path: Path, change: Callable[[pa.Table], pa.Table], tmp_path: Path) -> Path:
    """Write a changed copy of a file."""
    pq.write_table(change(pq.read_table(path)), tmp_path / "changed.parquet")
    return tmp_path / "changed.parquet"


def with_column(name: str, values: list[Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_column("id", [1000, *range(29)]), "1 id that the run holds already"),
        (with_column("id", [f"id-{number}" for number in range(30)]), "ids that are text"),
        (with_column("label", [7] * 30), "a label is 7"),
        (with_column("features", [[1.0, 2.0]] * 30), "features of shape"),
        (lambda table: table.drop_columns(["label"]), "no column label"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_changes(
    run: TrainedRun, tables: tuple[Path, Path], tmp_path: Path, change: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    before = run.store.current()
    with pytest.raises(DataInvalid, match=problem):
        extend(run, rows(tables[0], change, tmp_path))
    assert run.store.current() == before


@pytest.mark.parametrize("options", [{"slices": 0}, {"slices": 10_000}, {"epochs": 0}])
def test_numbers_that_no_run_can_have_are_refused(
    run: TrainedRun, tables: tuple[Path, Path], options: dict[str, int]
) -> None:
    with pytest.raises(RequestInvalid):
        extend(run, tables[0], **options)


def test_a_revoked_sample_may_not_come_back(run: TrainedRun, tables: tuple[Path, Path], tmp_path: Path) -> None:
    revoked = run.ids()[0]
    run.revoke([revoked], strategy="sisa")
    again = rows(tables[0], with_column("id", [revoked, *ids_of(tables[0])[1:]]), tmp_path)
    with pytest.raises(DataInvalid, match=r"1 sample that this run revoked.*--ignore-revoked") as refusal:
        extend(run, again)
    assert str(revoked) not in str(refusal.value)
    report = extend(run, again, ignore_revoked=True)
    assert (report.samples, report.left_out) == (29, 1)


def test_samples_of_a_revoked_owner_may_not_come_back(
    trained_run: TrainedRunFactory, tables: tuple[Path, Path]
) -> None:
    run = trained_run(samples={"samples": OLD, "owners": 4}, partition=PARTITION, data={"owner": "owner"})
    owners = pq.read_table(tables[0])["owner"].to_pylist()
    run.revoke(owner="owner-1", strategy="sisa")
    count = owners.count("owner-1")
    assert count
    with pytest.raises(DataInvalid, match=f"{count} sample"):
        extend(run, tables[0])
    assert extend(run, tables[0], ignore_revoked=True).left_out == count


def test_a_shard_without_new_samples_trains_the_new_stage_all_the_same(
    run: TrainedRun, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    """Else it would matter whether the samples of the slice were forgotten, or never there."""
    config: Config = run.config
    table = read_table(str(tables[0]), config.data)
    shards, _ = added_homes(table, config.partition, first=2, slices=1)
    only = rows(tables[0], lambda whole: whole.filter(pa.array(shards == 0)), tmp_path)
    extend(run, only)
    assert run.store.current().lineages[1].slice_samples[-1] == 0
    assert run.weights == weights_from_scratch(run, [(only, 1)], [config.epochs_per_stage[-1]])
    assert findings(run) == []


def test_lost_samples_of_an_extended_run_are_restored_from_the_files_of_its_history(
    run: TrainedRun, tables: tuple[Path, Path]
) -> None:
    extend(run, tables[0], slices=2)
    run.revoke([run.ids(shard=0)[0], ids_of(tables[0])[0]], strategy="sisa")
    weights = run.weights
    asyncio.run(run.coordinator.close())
    for lineage in run.store.current().lineages:
        (run.location / lineage.table.path).unlink()
    coordinator = run.open()
    with pytest.raises(SamplesLost):
        asyncio.run(coordinator.rebuild(no_progress, data=run.config.data.train))
    files = f"{run.config.data.train}\n{tables[0]}"
    assert len(asyncio.run(coordinator.rebuild(no_progress, data=files)).files) == 2
    asyncio.run(coordinator.close())
    assert run.weights == weights
    assert verify(run.store, no_progress).verdict is Verdict.PASS


def test_the_forgotten_samples_of_an_extension_are_found_in_its_file(
    run: TrainedRun, tables: tuple[Path, Path]
) -> None:
    extend(run, tables[0], slices=2)
    forget = [run.ids(shard=0)[0], *ids_of(tables[0])[:3]]
    receipt = run.revoke(forget, strategy="sisa")
    forgotten = find_forgotten(run.store, AuditScope(data=f"{run.config.data.train}\n{tables[0]}"))
    assert sorted(forgotten.table.ids.tolist()) == sorted(forget)
    assert set(forgotten.slices[np.isin(forgotten.table.ids, forget[1:])]) <= {2, 3}
    with pytest.raises(DataInvalid, match=receipt.request_id):
        find_forgotten(run.store, AuditScope())


@pytest.mark.parametrize("step", ["write", "publish"])
def test_an_extension_that_is_killed_leaves_the_old_run_or_one_that_goes_on(
    run: TrainedRun, tables: tuple[Path, Path], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the event is committed, nothing was added; after it, settling trains what was added."""

    class Killed(BaseException):
        pass

    def killed(*_arguments: object, **_fields: object) -> None:
        raise Killed

    before = run.store.current()
    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr("raymu.service.coordinator.coordinator.RunExtended", killed)  # the tables are written
        else:
            patch.setattr("raymu.service.coordinator.publisher.Publisher._publish", killed)
        with pytest.raises(Killed):
            extend(run, tables[0])
    coordinator = run.open()
    asyncio.run(coordinator.settle(no_progress))
    asyncio.run(coordinator.close())
    if step == "write":
        assert run.store.current().lineages == before.lineages
    else:
        epochs = [run.config.epochs_per_stage[-1]]
        assert run.weights == weights_from_scratch(run, [(tables[0], 1)], epochs)
    verification = verify(run.store, no_progress, replay=[0, 1])
    assert [finding for check in verification.checks for finding in check.findings] == []
