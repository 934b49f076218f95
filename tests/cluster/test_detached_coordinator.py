"""A detached coordinator serves every client, is restarted by Ray, and settles in time by itself."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import raymu
from raymu.backends import RayBackend
from raymu.core.events import SettleRequested
from raymu.core.records import Exactness, ShardState
from raymu.core.verdict import LastVerdict, Verdict
from raymu.errors import CoordinatorLost, CoordinatorSuperseded, RunInvalid
from raymu.runtime import detached_coordinator as standing
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import StageProgress, no_progress
from raymu.store.run import RunStore
from tests.support.cluster_process import wait_until
from tests.support.examples import repaired_weights, train_run, write_samples
from tests.support.processes import COORDINATOR, DETACHED, SHARD, TwoNodes, own_processes
from tests.support.ray_runs import config_on_ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


IDS = [1000 + 7 * number for number in range(400)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[raymu.Run]:
    """A run with a detached coordinator and one actor, which take seconds to start."""
    folder = tmp_path_factory.mktemp("detached")
    write_samples(folder / "all.parquet", samples=400)
    asyncio.run(train_run(config_on_ray(folder / "all.parquet", live_actors=1), folder / "run").close())
    with pytest.MonkeyPatch.context() as patched, raymu.open_run(folder / "run") as trained:
        patched.setattr(standing, "EVERY_S", 0.2)
        assert not trained.start()
        yield trained
        trained.stop()
        wait_until(lambda: not (own_processes(DETACHED) or own_processes(SHARD)), "nothing is left")


@pytest.fixture
def run(trained: raymu.Run) -> raymu.Run:
    """The same run for each test: its coordinator is up, and its requests are settled."""
    trained.start()
    trained.settle()
    return trained


@pytest.fixture
def ids(run: raymu.Run) -> list[int]:
    """The samples that no test has revoked. Each test revokes the first ones of them."""
    return IDS[revoked_samples(run) :]


def revoked_samples(run: raymu.Run) -> int:
    return sum(receipt.samples for receipt in run.receipts())


def require_calm_weights(run: raymu.Run, folder: Path) -> None:
    """Check that the run has the weights of training without what was revoked."""
    write_samples(folder / "all.parquet", samples=400)
    train_run(config_on_ray(folder / "all.parquet"), folder / "calm", exclude=IDS[: revoked_samples(run)])
    assert repaired_weights(Path(run.location)) == repaired_weights(folder / "calm")


def test_a_lost_detached_coordinator_restarts_and_finishes_its_work(
    run: raymu.Run, ids: list[int], tmp_path: Path
) -> None:
    def kill(_stage: StageProgress) -> None:
        for victim in own_processes(DETACHED):
            os.kill(victim.pid, signal.SIGKILL)

    settled = run.status().requests.settled
    with pytest.raises(CoordinatorLost, match="what it accepted stays accepted"):
        run.revoke(ids[:30], strategy="sisa", progress=kill)
    wait_until(lambda: run.status().requests.settled == settled + 1, "the request is settled")
    require_calm_weights(run, tmp_path)
    assert run.start()


def test_due_requests_are_settled_in_time(run: raymu.Run, ids: list[int]) -> None:
    due = datetime.now(UTC) + timedelta(seconds=60)
    assert run.revoke(ids[:1], strategy="dpus", due=due).exactness is Exactness.APPROXIMATE
    run.revoke(ids[1:2], strategy="dpus")
    wait_until(lambda: run.receipts()[-2].exactness is Exactness.EXACT, "the request that is due is exact")
    assert run.receipts()[-1].exactness in (
        Exactness.APPROXIMATE,
        Exactness.EXACT,  # of the same shard
    )


def test_a_group_of_deletions_becomes_visible_by_itself(run: raymu.Run, ids: list[int]) -> None:
    run.configure(publish={"at_least": 9, "every": "2s"})
    try:
        receipt = run.revoke(ids[:1], strategy="sisa")
        assert receipt.is_exact, "forgetting does not wait"
        assert {shard.state for shard in run.status().shards} > {ShardState.EXACT}
        wait_until(lambda: run.status().group is None, "the group is visible")
        assert {shard.state for shard in run.status().shards} == {ShardState.EXACT}
    finally:
        run.configure(publish=None)


def test_a_copy_of_the_run_is_refused(run: raymu.Run, tmp_path: Path) -> None:
    shutil.copytree(run.location, tmp_path / "copy")
    with pytest.raises(RunInvalid, match="was started from another directory"):
        raymu.open_run(tmp_path / "copy").settle()
    (tmp_path / "link").symlink_to(run.location)
    with raymu.open_run(tmp_path / "link") as same:
        same.settle()


def test_a_detached_coordinator_serves_several_clients_and_outlives_them(
    run: raymu.Run, ids: list[int], tmp_path: Path
) -> None:
    assert run.start()
    forget = [ids[at : at + 5] for at in (0, 5, 10)]

    def revoke(forgotten: list[int]) -> Exactness | None:
        with raymu.open_run(run.location) as client:
            return client.revoke(forgotten, strategy="sisa").exactness

    with ThreadPoolExecutor() as threads:
        assert set(threads.map(revoke, forget)) == {Exactness.EXACT}
    assert (len(own_processes(DETACHED)), own_processes(COORDINATOR)) == (1, [])
    assert run.locations()
    backend = RayBackend(run.location, run.cluster)
    verified = LastVerdict(run=run.run_id, check="verify", verdict=Verdict.PASS, generation=1, at=datetime.now(UTC))
    assert backend.count_verdict(verified), "its metrics outlive the process that verified"
    require_calm_weights(run, tmp_path)
    assert run.stop()
    assert not run.stop()
    assert not backend.count_verdict(verified)
    assert run.locations() == {}


@pytest.mark.nightly
def test_a_superseded_detached_coordinator_takes_the_run_back_for_its_next_client(
    run: raymu.Run, ids: list[int]
) -> None:
    store = RunStore(run.location)
    Coordinator(store, LocalFleet(store))
    term = store.fencing.term()
    with raymu.open_run(run.location) as client:
        assert client.revoke(ids[:1], strategy="sisa").exactness is Exactness.EXACT
    assert store.fencing.term() == term + 1


@pytest.mark.nightly
def test_a_detached_coordinator_whose_records_are_outdated_reads_the_journal_again(run: raymu.Run) -> None:
    store = RunStore(run.location)
    term = store.fencing.term()
    with closing(store.journal()) as journal:  # as if the answer to its own commit had been lost
        journal._term, journal._head = term, journal.head()
        journal.append(SettleRequested(at=datetime.now(UTC), shards=()))
    wait_until(lambda: store.fencing.term() > term, "it has taken the run over again")


@pytest.mark.nightly
def test_a_superseded_detached_coordinator_leaves_the_run_until_a_request_is_due(
    run: raymu.Run, ids: list[int]
) -> None:
    store = RunStore(run.location)
    other = Coordinator(store, LocalFleet(store))
    wait_until(lambda: not own_processes(SHARD), "its actors are gone")

    def patch(sample_id: int, due: datetime | None) -> None:
        asyncio.run(other.revoke([raymu.Revocation(ids=(sample_id,), strategy="dpus", due=due)], no_progress))

    patch(ids[0], None)
    asyncio.run(other.require_current())
    patch(ids[1], datetime.now(UTC) + timedelta(seconds=60))
    wait_until(lambda: run.receipts()[-1].exactness is Exactness.EXACT, "the request that is due is exact")
    with pytest.raises(CoordinatorSuperseded):
        asyncio.run(other.require_current())


@pytest.mark.nightly
def test_a_detached_coordinator_runs_on_the_machine_of_its_journal(run: raymu.Run) -> None:
    other = TwoNodes(num_cpus=1)
    try:
        for _ in range(3):  # Ray itself would choose any
            assert (run.stop(), run.start()) == (True, False)
            [coordinator] = own_processes(DETACHED)
            assert coordinator.pid not in other.find("node")
    finally:
        other.close()


@pytest.mark.nightly
def test_a_detached_coordinator_follows_changed_settings(run: raymu.Run, ids: list[int]) -> None:
    run.configure(strategy="dpus")
    receipt = run.revoke(ids[:1])
    assert receipt.exactness is Exactness.APPROXIMATE
    assert (len(own_processes(DETACHED)), own_processes(COORDINATOR)) == (1, [])
