"""The stages of a revocation in the coordinator: accepted, rewound, repaired, published, purged, settled."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raymu.config.unlearning import OnAccept
from raymu.core.records import Exactness, Generation, Remedy, ShardState
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.history import replay
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import RepairTask, no_progress
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore
from tests.support.coordinated_run import (
    constituent_of,
    ids_at,
    issued_receipts,
    journal_events,
    lineage_of,
    raw_ids_in_journal,
    state_files,
    traces,
)
from tests.support.examples import make_config, repaired_weights, revoke, settle, train_run, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import TrainedRunFactory, weights_without


def watched_run(
    tmp_path: Path, ids_slice: int, on_accept: str, strategy: str = "sisa"
) -> tuple[Generation, list[Generation]]:
    """Revoke one sample of a slice of shard 0.

    Returns:
        The trained generation, and the current generation at each repair.
    """
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", unlearning={"on_accept": on_accept})
    location = str(tmp_path / "run")
    prepare_run(config, location).write()
    seen: list[Generation] = []
    fleet = ScriptedFleet(RunStore(location), before=lambda _task: seen.append(RunStore(location).current()))
    coordinator = Coordinator(RunStore(location), fleet)
    asyncio.run(coordinator.train(no_progress))
    trained = RunStore(location).current()
    revoke(coordinator, ids_at(config, shard=0, slice_index=ids_slice)[:1], strategy=strategy)
    asyncio.run(coordinator.close())
    return trained, seen


@pytest.mark.parametrize("slice_index", [1, 2])
def test_a_touched_shard_is_rewound_before_its_repair_begins(tmp_path: Path, slice_index: int) -> None:
    trained, [during] = watched_run(tmp_path, slice_index, "rewind")
    touched, other = during.constituents
    assert (during.cause, touched.state) == ("rewind", ShardState.REWOUND)
    assert touched.checkpoint == trained.lineages[0].checkpoints[slice_index - 1]
    assert touched.stages_trained == slice_index
    assert touched.samples == sum(trained.lineages[0].slice_samples[:slice_index])
    assert other == trained.constituents[1]


def test_a_shard_touched_in_its_first_slice_abstains(tmp_path: Path) -> None:
    _, [during] = watched_run(tmp_path, 0, "rewind")
    assert during.constituents[0].state is ShardState.ABSTAINING
    assert during.constituents[0].checkpoint is None


def test_a_touched_shard_abstains_if_configured(tmp_path: Path) -> None:
    _, [during] = watched_run(tmp_path, 2, "abstain")
    assert [constituent.state for constituent in during.constituents] == [ShardState.ABSTAINING, ShardState.EXACT]


def test_a_touched_shard_keeps_serving_if_configured(tmp_path: Path) -> None:
    trained, [during] = watched_run(tmp_path, 1, "keep")
    assert during == trained


def test_a_patched_shard_is_rewound_below_its_debt(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    seen: list[int] = []
    run.revoke(run.ids(shard=0, slice_index=1)[:2], strategy="dpus")
    location = str(run.location)
    look = ScriptedFleet(
        RunStore(location), before=lambda _task: seen.append(constituent_of(run.location, 0).stages_trained)
    )
    revoke(Coordinator(RunStore(location), look), run.ids(shard=0, slice_index=2)[:2], strategy="sisa")
    assert seen == [1]


def test_a_patch_is_approximate_and_leaves_no_tainted_checkpoint(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    before = lineage_of(run.location, 0)
    receipt = run.revoke(run.ids(shard=0, slice_index=1)[:2], strategy="dpus")
    after = lineage_of(run.location, 0)
    assert (receipt.exactness, receipt.settled_at) == (Exactness.APPROXIMATE, None)
    assert constituent_of(run.location, 0).state is ShardState.APPROXIMATE
    assert (after.tainted_from, after.debts) == (1, (receipt.request_id,))
    assert after.checkpoints == (before.checkpoints[0], None, None)
    assert after.samples == before.samples - 2
    assert state_files(run.location, 0) == {ref.path for ref in after.files}


def test_a_retrain_starts_below_the_debt_and_settles_it(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    early, late = run.ids(shard=0, slice_index=1)[:2], run.ids(shard=0, slice_index=2)[:2]
    patched = run.revoke(early, strategy="dpus")
    retrained = run.revoke(late, strategy="sisa")
    assert retrained.exactness is Exactness.EXACT
    assert run.coordinator.receipt(patched.request_id).exactness is Exactness.EXACT
    assert run.coordinator.receipt(patched.request_id).settled_at == retrained.published_at
    assert run.weights == weights_without(run.config, [*early, *late])


def test_settling_issues_a_receipt_that_says_exact(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    request_id = run.revoke(run.ids()[:5], strategy="dpus").request_id
    first = issued_receipts(run.location)
    assert [receipt.exactness for receipt in first] == [Exactness.APPROXIMATE]
    report = run.settle()
    assert (report.shards, report.request_ids) == ((0, 1), (request_id,))
    [_, last] = issued_receipts(run.location)
    assert last == run.coordinator.receipt(request_id)
    assert (last.exactness, last.due_met) == (Exactness.EXACT, True)
    assert last.settled_at is not None
    assert all(part.settled_by and part.exactness is Exactness.EXACT for part in last.shards)
    again = run.settle()
    assert (again.shards, again.passes, again.generation) == ((), 0, report.generation)


@pytest.mark.parametrize("strategy", ["sisa", "dpus", "ohs"])
@pytest.mark.parametrize("contributions", ["gradient", "batch"])
def test_nothing_of_a_revoked_sample_stays_in_the_run(tmp_path: Path, strategy: str, contributions: str) -> None:
    write_samples(tmp_path / "all.parquet", text_ids=True)
    config = make_config(
        tmp_path / "all.parquet",
        unlearning={"contributions": contributions, "boundary": 0.0},
    )
    location, marker = tmp_path / "run", "sample-117"
    during: list[set[str]] = []
    prepare_run(config, str(location)).write()
    coordinator = Coordinator(
        RunStore(str(location)),
        ScriptedFleet(RunStore(str(location)), before=lambda _task: during.append(traces(location, marker))),
    )
    asyncio.run(coordinator.train(no_progress))
    before = lineage_of(location, 0).files | lineage_of(location, 1).files
    receipt = revoke(coordinator, [marker, "sample-11"], strategy=strategy)
    assert any(name.endswith(".parquet") for name in during[0])  # so the search does find what is there
    assert not any(name.startswith("journal.sqlite") for name in during[0])
    assert traces(location, marker) == set()
    assert raw_ids_in_journal(location) == 0
    kept = lineage_of(location, 0).files | lineage_of(location, 1).files
    assert receipt.purged_files == len(before - kept) > 0
    for shard in (0, 1):
        assert state_files(location, shard) == {ref.path for ref in lineage_of(location, shard).files}
    assert [path.name for path in (location / "generations").iterdir()] == [f"{receipt.generation_after:08d}.json"]
    assert list((location / "reports").iterdir()) == []


def test_requests_submitted_together_share_one_remedy_per_shard(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    location = str(tmp_path / "run")
    prepare_run(config, location).write()
    fleet = ScriptedFleet(RunStore(location))
    coordinator = Coordinator(RunStore(location), fleet)
    asyncio.run(coordinator.train(no_progress))
    shard_0, shard_1 = ids_at(config, shard=0), ids_at(config, shard=1)
    first, second = asyncio.run(
        coordinator.revoke(
            [
                Revocation(ids=tuple(shard_0[:2]), strategy="dpus"),
                Revocation(ids=(shard_0[2], shard_1[0]), strategy="sisa"),
            ],
            no_progress,
        )
    )
    assert sorted(task.command.shard for task in fleet.repairs) == [0, 1]
    assert first.shards[0].requests == 2
    assert first.shards[0].command_id == second.shards[0].command_id
    assert first.shards[0].remedy is Remedy.RETRAIN  # the most exact that either asks for
    assert (first.generation_rewound, first.shards[0].passes) == (2, second.shards[0].passes)
    assert repaired_weights(tmp_path / "run") == weights_without(config, [*shard_0[:3], shard_1[0]])


@pytest.mark.parametrize("strategy", ["sisa", "dpus"])
def test_a_command_delivered_twice_changes_nothing_the_second_time(
    trained_run: TrainedRunFactory, strategy: str
) -> None:
    run = trained_run()
    location = run.location

    def deliver(task: RepairTask) -> None:
        [*_, first] = ShardWorker(RunStore(str(location))).run(task)
        lying = {path: path.stat().st_mtime_ns for path in location.rglob("*") if path.is_file()}
        [second] = ShardWorker(RunStore(str(location))).run(task)
        assert second == first
        assert lying == {path: path.stat().st_mtime_ns for path in location.rglob("*") if path.is_file()}

    fleet = ScriptedFleet(RunStore(str(location)), before=deliver)
    receipt = revoke(Coordinator(RunStore(str(location)), fleet), run.ids(shard=0)[:3], strategy=strategy)
    assert len(fleet.repairs) == 1
    assert receipt.purged_at is not None


def test_replaying_the_journal_gives_the_lineages_of_the_current_generation(trained_run: TrainedRunFactory) -> None:
    run = trained_run(unlearning={"boundary": 0.5})
    ids = np.random.default_rng(1).permutation(run.ids()).tolist()
    for strategy, start in zip(itertools.cycle(["dpus", "ohs", "sisa", "hs"]), range(0, 30, 5), strict=False):
        run.revoke(ids[start : start + 5], strategy=strategy)
        store = run.store
        history = replay(store.journal(), store.manifest)
        assert history.board.lineages == store.current().lineages
        assert history.board.is_idle
        assert history.board.pending_commands() == []
    run.settle()
    kinds = [event.kind for event in journal_events(run.location)]
    assert kinds[:2] == ["trained", "published"]
    assert kinds.count("accepted") == 6


def test_changed_settings_do_not_rewind_an_earlier_request(trained_run: TrainedRunFactory) -> None:
    run = trained_run(unlearning={"on_accept": "keep"})
    ids = run.ids(shard=0)
    before = run.revoke(ids[:2], strategy="sisa")
    asyncio.run(run.coordinator.configure(replace(run.config.unlearning, on_accept=OnAccept.REWIND)))
    reopened = run.open()
    after = revoke(reopened, ids[2:4], strategy="sisa")
    assert (before.rewound_at, after.generation_rewound) == (None, 3)
    assert reopened.receipt(before.request_id) == before


def test_a_shard_votes_again_before_the_last_one_of_its_request_is_repaired(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    location = tmp_path / "run"
    prepare_run(config, str(location)).write()
    seen: list[list[ShardState]] = []

    def look(_task: RepairTask) -> None:
        seen.append([constituent.state for constituent in RunStore(str(location)).current().constituents])

    coordinator = Coordinator(RunStore(str(location)), ScriptedFleet(RunStore(str(location)), before=look))
    asyncio.run(coordinator.train(no_progress))
    before = lineage_of(location, 0).files | lineage_of(location, 1).files
    ids = [ids_at(config, shard=shard, slice_index=0)[0] for shard in (0, 1)]
    receipt = revoke(coordinator, ids, strategy="sisa")
    assert [set(states) for states in seen] == [{ShardState.ABSTAINING}, {ShardState.EXACT, ShardState.ABSTAINING}]
    assert (receipt.generation_before, receipt.generation_rewound, receipt.generation_after) == (1, 2, 4)
    kept = lineage_of(location, 0).files | lineage_of(location, 1).files
    assert receipt.purged_files == len(before - kept) > 0
    assert [path.name for path in (location / "generations").iterdir()] == ["00000004.json"]


def test_a_coordinator_knows_what_is_owed_until_it_is_settled(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "all.parquet")["id"].to_pylist()
    coordinator = train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    assert coordinator.deadlines() == ()
    receipt = revoke(coordinator, ids[:1], strategy="dpus")
    [owed] = coordinator.deadlines()
    assert (owed.request_id, owed.due_at, coordinator.is_interrupted) == (receipt.request_id, receipt.due_at, False)
    settle(coordinator)
    assert coordinator.deadlines() == ()
