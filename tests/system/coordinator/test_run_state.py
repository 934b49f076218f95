"""A coordinator reads the journal and the samples of a run once, before it takes the run over if it can."""

from collections.abc import Sequence
from typing import Any

import pytest

import raymu
from raymu.core.records import SampleFiles
from raymu.data.shard_index import ShardIndex
from raymu.errors import SamplesRevoked, UnknownSamples
from raymu.service.coordinator import coordinator as coordinator_module
from raymu.service.coordinator.run_state import RunState, check_requests
from raymu.service.requests.revocation import Revocation
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from raymu.store.stored_samples import StoredSamples
from tests.support.coordinated_run import opened
from tests.support.trained_runs import TrainedRunFactory


def test_one_revocation_replays_the_journal_once_and_reads_one_index_once(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run()
    reads: list[str] = []
    replay, read = Journal.sealed_events, StoredSamples.read_index

    def count_replay(journal: Journal, **options: Any) -> Any:
        reads.append("journal")
        return replay(journal, **options)

    def count_read(store: StoredSamples, files: SampleFiles) -> ShardIndex:
        reads.append("samples")
        return read(store, files)

    monkeypatch.setattr(Journal, "sealed_events", count_replay)
    monkeypatch.setattr(StoredSamples, "read_index", count_read)
    with raymu.open_run(run.location) as opened_run:
        opened_run.revoke(run.ids(shard=0)[:2], strategy="dpus")
    assert sorted(reads) == ["journal", "samples", "samples"], "once to look up, once by the worker that rewrites it"


def test_a_refused_first_request_does_not_take_the_run_over(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    term = run.store.fencing.term()
    with raymu.open_run(run.location) as opened_run, pytest.raises(UnknownSamples):
        opened_run.revoke([-1])
    assert run.store.fencing.term() == term


def test_what_another_coordinator_commits_meanwhile_is_read_again(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run()
    first = Revocation(ids=tuple(run.ids()[:1]))

    def check_then_be_overtaken(store: RunStore, revocations: Sequence[Revocation], **options: Any) -> RunState | None:
        state = check_requests(store, revocations, **options)
        monkeypatch.undo()
        with opened(run.location) as other:
            other.revoke(first.ids)
        return state

    monkeypatch.setattr(coordinator_module, "check_requests", check_then_be_overtaken)
    with opened(run.location, first=[first]) as overtaken, pytest.raises(SamplesRevoked):
        overtaken.revoke(first.ids)
