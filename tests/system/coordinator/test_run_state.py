"""A coordinator reads the journal and the samples of a run once, before it takes the run over if it can."""

from collections.abc import Sequence
from typing import Any

import pytest

import raymu
from raymu.errors import SamplesRevoked, UnknownSamples
from raymu.service.coordinator import coordinator as coordinator_module
from raymu.service.coordinator.run_state import RunState, check_requests
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.coordinated_run import opened
from tests.support.trained_runs import TrainedRunFactory


def test_one_revocation_replays_the_journal_once_and_reads_the_sample_index_once(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run()
    reads: list[str] = []
    replay, read = Journal.events, SampleIndex.read.__func__  # type: ignore[attr-defined]  # of a class method

    def count_replay(journal: Journal) -> Any:
        reads.append("journal")
        return replay(journal)

    def count_read(kind: type[SampleIndex], *arguments: Any) -> SampleIndex:
        reads.append("samples")
        index: SampleIndex = read(kind, *arguments)
        return index

    monkeypatch.setattr(Journal, "events", count_replay)
    monkeypatch.setattr(SampleIndex, "read", classmethod(count_read))
    with raymu.open_run(run.location) as opened_run:
        opened_run.revoke(run.ids()[:2])
    assert sorted(reads) == ["journal", "samples"]


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
