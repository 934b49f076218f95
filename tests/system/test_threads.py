"""One `Run` object in the threads of a web service, beside other objects and other processes."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import raymu
from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.errors import RequestInvalid, SamplesRevoked, UnknownSamples
from raymu.service.coordinator.client import LocalClient
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.shared_calls import ClientClosed
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import StageProgress
from raymu.store.anchors import VARIABLE
from tests.support.examples import create_run, repaired_weights
from tests.support.trained_runs import TrainedRunFactory

THREADS = 32
WAIT_S = 120


@pytest.fixture(autouse=True)
def own_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of these tests are copies of one run, which did not go on from each other."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "anchors"))


def at_once(*jobs: Callable[[], object]) -> list[object]:
    """Start all of these in threads of their own at the same moment. Returns their results, or their errors."""
    together = threading.Barrier(len(jobs), timeout=WAIT_S)

    def start(job: Callable[[], object]) -> object:
        together.wait()
        try:
            return job()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(jobs)) as threads:
        results = [threads.submit(start, job) for job in jobs]
        return [result.result(WAIT_S) for result in results]


def errors_in(results: Sequence[object]) -> list[object]:
    return [result for result in results if isinstance(result, Exception)]


def test_deletions_of_many_threads_share_commits_and_repairs_and_end_as_one_request_would(
    trained_run: TrainedRunFactory, tmp_path: Path
) -> None:
    trained = trained_run()
    ids = trained.ids()[: THREADS + 1]
    reported: list[int] = []

    def revoke(sample_id: int) -> Callable[[], raymu.Receipt]:
        def progress(_stage: StageProgress) -> None:
            reported.append(threading.get_ident())

        return lambda: run.revoke([sample_id], strategy="sisa", progress=progress)

    with raymu.open_run(trained.location) as run:
        run.revoke([ids[0]], strategy="sisa")
        receipts = at_once(*(revoke(int(sample_id)) for sample_id in ids[1:]))
        assert not errors_in(receipts)
        assert all(receipt.exactness is Exactness.EXACT for receipt in run.receipts())
        assert run.status().generation < 2 * THREADS
        assert run.verify().verdict is Verdict.PASS or run.verify().verdict is Verdict.INCONCLUSIVE
    assert len(set(reported)) > 1  # each thread got the progress of its own call
    assert raymu.open_run(trained.location).verify().verdict is Verdict.PASS
    create_run(trained.config, tmp_path / "calm", exclude=ids)
    assert repaired_weights(trained.location) == repaired_weights(tmp_path / "calm")


def test_all_methods_work_in_many_threads_at_once(trained_run: TrainedRunFactory) -> None:
    trained = trained_run()
    ids = iter([*trained.ids(slice_index=1), *trained.ids(slice_index=2)])  # of slice 0 a shard would abstain meanwhile
    features = np.zeros((4, 6), dtype=np.float32)
    run = raymu.open_run(trained.location)

    def revoke(strategy: str) -> Callable[[], object]:
        sample_id = next(ids)
        return lambda: run.revoke([sample_id], strategy=strategy)

    def revoke_many() -> Callable[[], object]:
        revocations = [raymu.Revocation(ids=(next(ids),), strategy="sisa"), raymu.Revocation(ids=(-1,))]
        return lambda: run.revoke_many(revocations)

    jobs: list[Callable[[], object]] = [
        *(revoke(strategy) for strategy in ("sisa", "dpus") * 3),
        *(revoke_many() for _ in range(3)),
        *(run.settle for _ in range(3)),
        *(run.rebuild for _ in range(2)),
        *(lambda: run.predict(features) for _ in range(6)),
        *(lambda: run.evaluate(features, np.zeros(4, dtype=np.int64)) for _ in range(3)),
        *(job for _ in range(2) for job in (run.status, run.receipts, run.verify, run.close)),
        lambda: run.configure(strategy="ohs"),
    ]
    assert len(jobs) == THREADS
    results = at_once(*jobs)
    run.settle()
    run.close()
    assert not errors_in(results)
    receipts = run.receipts()
    assert len(receipts) == 9
    assert all(receipt.exactness is Exactness.EXACT for receipt in receipts)
    assert run.config.unlearning.strategy == "ohs"
    assert run.verify().verdict is Verdict.PASS


def test_of_requests_that_arrive_together_each_gets_its_own_refusal(trained_run: TrainedRunFactory) -> None:
    trained = trained_run()
    first, *_ = trained.ids()
    with raymu.open_run(trained.location) as run:
        results = at_once(*[lambda: run.revoke([first])] * 3, *[lambda: run.revoke([-1])] * 3)
    assert [type(error) for error in errors_in(results[3:])] == [UnknownSamples] * 3
    assert [type(error) for error in errors_in(results[:3])] == [SamplesRevoked] * 2


def test_threads_with_objects_of_their_own_wait_for_each_other(trained_run: TrainedRunFactory) -> None:
    trained = trained_run()

    def revoke(sample_id: int) -> Callable[[], object]:
        def work() -> object:
            with raymu.open_run(trained.location) as run:
                return run.revoke([sample_id], strategy="sisa").exactness

        return work

    assert at_once(*(revoke(int(sample_id)) for sample_id in trained.ids()[:2])) == [Exactness.EXACT] * 2


def test_an_idle_run_goes_on_after_another_process_had_its_turn(trained_run: TrainedRunFactory) -> None:
    trained = trained_run()
    first, second, third = trained.ids()[:3]
    with raymu.open_run(trained.location) as run:
        run.revoke([first], strategy="sisa")
        other = Coordinator(trained.store, LocalFleet(trained.store))
        trained.__dict__["coordinator"] = other
        trained.revoke([second], strategy="sisa")
        with pytest.raises(SamplesRevoked):
            run.revoke([second])
        assert run.revoke([third], strategy="sisa").exactness is Exactness.EXACT
        assert len(run.receipts()) == 3


def test_a_client_that_is_closed_begins_no_call(trained_run: TrainedRunFactory) -> None:
    from raymu.service.coordinator.calls import Settle

    client = LocalClient(str(trained_run().location))
    client.close()
    client.close()
    with pytest.raises(ClientClosed):
        client.call(Settle())


def test_progress_cannot_change_its_run(trained_run: TrainedRunFactory) -> None:
    trained = trained_run()
    refused: list[str] = []
    with raymu.open_run(trained.location) as run:

        def progress(_stage: StageProgress) -> None:
            for call in (run.settle, run.close):
                with pytest.raises(RequestInvalid, match="in the middle of a call") as error:
                    call()
                refused.append(str(error.value))

        run.revoke(trained.ids()[:1], strategy="sisa", progress=progress)
    assert refused


def forked(work: Callable[[], object]) -> str:
    """Run a function in a forked child. Returns "done", or what it raised."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            work()
            os.write(write, b"done")
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_and_its_parent_both_go_on(trained_run: TrainedRunFactory) -> None:
    trained = trained_run()
    first, second, third = trained.ids()[:3]
    features = np.zeros((4, 6), dtype=np.float32)
    with raymu.open_run(trained.location) as run:
        run.revoke([first], strategy="sisa")
        run.predict(features)
        lock = trained.store.process_lock()
        assert lock.try_hold()  # the parent is at work while it forks: the child waits for it

        def in_child() -> None:
            run.predict(features)
            run.revoke([second], strategy="sisa")
            run.close()

        threading.Timer(0.5, lock.release).start()
        assert forked(in_child) == "done"
        run.revoke([third], strategy="sisa")
    assert len(run.receipts()) == 3
    assert run.verify().verdict is Verdict.PASS


def test_a_run_travels_to_a_process_that_is_started_afresh(trained_run: TrainedRunFactory) -> None:
    trained = trained_run()
    with raymu.open_run(trained.location) as run:
        run.revoke(trained.ids()[:1], strategy="sisa")
        with multiprocessing.get_context("spawn").Pool(1) as processes:
            assert processes.apply(generation_of, (run,)) == run.status().generation
    assert pickle.loads(pickle.dumps(run)).location == run.location


def generation_of(run: raymu.Run) -> int:
    return run.status().generation
