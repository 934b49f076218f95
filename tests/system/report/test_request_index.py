"""What a service keeps of a journal between pages is what a reading of the whole journal gives."""

import shutil
from datetime import UTC, datetime

from raymu.report.load import read_run
from raymu.report.request_index import RequestIndex
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened
from tests.support.trained_runs import TrainedRun, TrainedRunFactory

NOW = datetime(2026, 2, 3, tzinfo=UTC)


def assert_index_follows(index: RequestIndex, store: RunStore) -> None:
    with index.journal() as journal:
        followed = read_run(store, now=NOW, journal=journal)
    assert followed == read_run(store, now=NOW)


def delete(run: TrainedRun, number: int, strategy: str) -> None:
    with opened(run.location) as coordinated:
        coordinated.revoke(ids_at(run.store.config)[number : number + 1], strategy=strategy)


def test_a_page_goes_on_from_the_events_and_receipts_of_the_one_before(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    index = RequestIndex(run.store)
    assert_index_follows(index, run.store)
    for number, strategy in enumerate(("sisa", "dpus")):
        delete(run, number, strategy)
        assert_index_follows(index, run.store)
    with opened(run.location) as coordinated:
        coordinated.settle()
    assert_index_follows(index, run.store)


def test_a_run_that_was_put_back_is_read_anew(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    before = run.location.with_name("before")
    shutil.copytree(run.location, before)
    index = RequestIndex(run.store)
    delete(run, 0, "sisa")
    assert_index_follows(index, run.store)
    shutil.rmtree(run.location)
    shutil.copytree(before, run.location)
    delete(run, 1, "sisa")
    assert_index_follows(index, RunStore(str(run.location)))
