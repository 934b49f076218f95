"""Forecasts of single requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from raymu.core.events import Event
from raymu.core.records import SampleFiles
from raymu.data.shard_index import ShardIndex
from raymu.errors import FileMissing, RunInvalid
from raymu.service.followed_history import FollowedHistory
from raymu.service.planning.forecast import plan
from raymu.service.requests.revocation import Revocation
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from raymu.store.stored_samples import StoredSamples
from tests.support.coordinated_run import ids_at, lineage_of
from tests.support.examples import make_config, revoke, train_run, write_samples
from tests.support.trained_runs import TrainedRunFactory


def test_a_forecast_has_the_interval_of_its_remedy(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    run, store = train_run(config, tmp_path / "run"), RunStore(str(tmp_path / "run"))
    late = ids_at(config, shard=0, slice_index=2)
    [before] = plan(store, Revocation(ids=(late[0],), strategy="sisa")).shards
    assert before.interval.low_s < before.retrain_seconds < before.interval.high_s
    assert before.interval.expected_s == pytest.approx(before.retrain_seconds)
    [part] = revoke(run, [late[0]], strategy="sisa").shards
    [after] = plan(store, Revocation(ids=(late[1],), strategy="sisa")).shards
    assert after.interval.expected_s == pytest.approx(after.retrain_seconds), "what is learned is in the forecast"
    is_slower = part.seconds > part.forecast_seconds
    assert (after.retrain_seconds / after.retrain_passes > before.retrain_seconds / before.retrain_passes) == is_slower


def test_a_forecast_is_repeated_if_the_run_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge destroys the tables of samples after the journal was read, and before they are."""
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    run, store = train_run(config, tmp_path / "run"), RunStore(str(tmp_path / "run"))
    *early, sample_id = ids_at(config, shard=0, slice_index=0)[:4]
    revoke(run, [early.pop()], strategy="sisa")  # so that the coordinator has its own index from here on
    read = StoredSamples.read_index

    def after_a_revocation(store: StoredSamples, files: SampleFiles) -> ShardIndex:
        if early:
            with monkeypatch.context() as reading:
                reading.setattr(StoredSamples, "read_index", read)
                revoke(run, [early.pop()], strategy="sisa")
        return read(store, files)

    monkeypatch.setattr(StoredSamples, "read_index", after_a_revocation)
    forecast = plan(store, Revocation(ids=(sample_id,)))
    assert not early
    assert forecast == plan(store, Revocation(ids=(sample_id,)))


def test_later_forecasts_read_the_new_events_alone_and_give_the_same_answers(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, numbers = trained_run(), list[int]()
    followed = FollowedHistory(run.store)
    *early, sample_id = run.ids(shard=0, slice_index=0)[:4]
    read = Journal.sealed_events

    def noted(journal: Journal, *, after: ChainHead = BEGINNING) -> Iterator[tuple[ChainHead, Event]]:
        for head, event in read(journal, after=after):
            numbers.append(head.sequence)
            yield head, event

    for strategy, workers in (("sisa", None), ("dpus", None), ("dpus", 3)):
        run.revoke([early.pop()], strategy=strategy)
        request, last = Revocation(ids=(sample_id,), strategy="hs"), max(numbers, default=0)
        with monkeypatch.context() as following:
            following.setattr(Journal, "sealed_events", noted)
            numbers.clear()
            forecast = plan(run.store, request, workers=workers, followed=followed)
        assert numbers[0] == (last + 1 if workers is None else 1), "another number of workers may decide differently"
        assert forecast == plan(run.store, request, workers=workers)


def test_a_generation_that_is_missing_is_refused_without_reading_it(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    run.store.require_published()
    for file in (run.location / "generations").iterdir():
        file.unlink()
    for call in (run.store.require_published, run.store.current):
        with pytest.raises(RunInvalid, match="its journal knows 1"):
            call()


def test_a_forecast_from_an_index_that_is_missing_is_refused(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    index = lineage_of(run.location, 1).index
    assert index
    (run.location / index.path).unlink()
    with pytest.raises(FileMissing, match="raymu rebuild"):
        plan(run.store, Revocation(ids=(run.ids(shard=1)[0],)))


def test_the_speed_of_a_shard_is_updated_by_each_retraining(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    before = lineage_of(run.location, 0)
    [part] = run.revoke(run.ids(shard=0, slice_index=2)[:1], strategy="sisa").shards
    after = lineage_of(run.location, 0)
    measured = (part.seconds - before.seconds_per_stage) / part.passes
    low, high = sorted((before.seconds_per_pass, measured))
    assert low < after.seconds_per_pass < high
