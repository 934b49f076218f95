"""Many requests at once: answered one by one, committed in groups, and repaired together."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raymu.config import Config
from raymu.core.events import RevocationsAccepted
from raymu.core.records import SampleId, ShardState
from raymu.errors import IdempotencyConflict, RequestInvalid, SamplesRevoked, StorageFailed, UnknownSamples
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.messages import no_progress
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.coordinated_run import (
    constituent_of,
    history_of,
    ids_at,
    issued_receipts,
    journal_events,
    raw_ids_in_journal,
)
from tests.support.coordinated_run import opened as opened_run
from tests.support.examples import create_run, make_config, repaired_weights, train_run, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import weights_without

opened = partial(opened_run, requests_per_commit=4)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_samples(tmp_path / "all.parquet")
    return make_config(tmp_path / "all.parquet", data={"owner": "owner"}, partition={"shards": 3})


def submit(coordinator: Coordinator, revocations: Sequence[Revocation]) -> list[SubmissionResult]:
    return asyncio.run(coordinator.submit(revocations, no_progress))


def single(sample_id: SampleId, **fields: Any) -> Revocation:
    return Revocation(ids=(sample_id,), **fields)


def test_each_request_is_answered_and_each_shard_repaired_once(config: Config, tmp_path: Path) -> None:
    location = tmp_path / "run"
    create_run(config, location)
    fleet = ScriptedFleet(RunStore(str(location)))
    coordinator = Coordinator(RunStore(str(location)), fleet, requests_per_commit=4)
    good = ids_at(config)[::5]
    revocations = [
        *(single(sample_id, key=f"row {sample_id}", strategy="sisa") for sample_id in good),
        single(good[0]),
        single(good[1], key=f"row {good[1]}", strategy="sisa"),
        single(good[2], key=f"row {good[3]}", strategy="sisa"),
        single(5),
        Revocation(),
    ]
    answers = submit(coordinator, revocations)
    accepted, refused = answers[: len(good)], [answer.refusal for answer in answers[len(good) :]]
    request_ids = [answer.request_id for answer in accepted]
    assert len(set(request_ids)) == len(good)
    assert [type(refusal) for refusal in refused] == [
        SamplesRevoked,
        type(None),
        IdempotencyConflict,
        UnknownSamples,
        RequestInvalid,
    ]
    assert isinstance(refused[0], SamplesRevoked)
    assert refused[0].request_ids == (request_ids[0],)
    assert answers[len(good) + 1] == accepted[1]
    assert sorted(task.shard for task in fleet.repairs) == [0, 1, 2]
    assert sorted(receipt.request_id for receipt in issued_receipts(location)) == sorted(filter(None, request_ids))
    assert raw_ids_in_journal(location) == 0
    assert repaired_weights(location) == weights_without(config, good)


def test_each_event_has_at_most_one_group_and_one_generation_rewinds_all(config: Config, tmp_path: Path) -> None:
    coordinator = train_run(config, tmp_path / "run", requests_per_commit=4)
    submit(coordinator, [single(sample_id) for sample_id in ids_at(config)[:10]])
    events = journal_events(tmp_path / "run")
    assert [len(event.requests) for event in events if isinstance(event, RevocationsAccepted)] == [4, 4, 2]
    assert Counter(event.kind for event in events)["repaired"] == 3
    receipts = issued_receipts(tmp_path / "run")
    assert {receipt.generation_rewound for receipt in receipts} == {2}
    assert all(
        receipt.rewound_at and receipt.repaired_at and receipt.rewound_at < receipt.repaired_at for receipt in receipts
    )


def test_a_submission_without_an_acceptable_request_changes_nothing(config: Config, tmp_path: Path) -> None:
    coordinator = train_run(config, tmp_path / "run", requests_per_commit=4)
    before = history_of(tmp_path / "run")
    answers = submit(coordinator, [single(number) for number in range(6)])
    assert [str(answer.refusal) for answer in answers[:1]] == [
        "1 unknown sample id (0): the run never held them; nothing was changed"
    ]
    assert not any(answer.request_id for answer in answers)
    assert submit(coordinator, []) == []
    assert history_of(tmp_path / "run") == before


def break_off(
    location: Path, revocations: Sequence[Revocation], monkeypatch: pytest.MonkeyPatch, *, groups: int
) -> None:
    """Submit requests to a journal that fails after some groups."""
    accept = Journal.accept
    left = iter(range(groups))

    def until_full(journal: Journal, *event: Any, **kept: Any) -> None:
        if next(left, None) is None:
            raise StorageFailed("the journal", "No space left on device")
        accept(journal, *event, **kept)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "accept", until_full)
        with opened(location) as run, pytest.raises(StorageFailed):
            submit(run.coordinator, revocations)


def test_the_next_coordinator_completes_what_an_interrupted_submission_committed(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tmp_path / "run"
    create_run(config, location)
    ids = ids_at(config, slice_index=1)[:12]
    break_off(location, [single(sample_id, strategy="sisa") for sample_id in ids], monkeypatch, groups=2)
    assert RunStore(str(location)).current().number == 1
    seen: list[ShardState] = []
    fleet = ScriptedFleet(
        RunStore(str(location)), before=lambda task: seen.append(constituent_of(location, task.shard).state)
    )
    with opened(location, fleet) as run:
        run.settle()
    assert set(seen) == {ShardState.REWOUND}  # before any of them is repaired
    assert len(fleet.repairs) == len({task.shard for task in fleet.repairs})
    assert len(issued_receipts(location)) == 8
    assert repaired_weights(location) == weights_without(config, ids[:8])


def test_an_interrupted_submission_can_be_submitted_again(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tmp_path / "run"
    create_run(config, location)
    ids = ids_at(config)[:10]
    revocations = [single(sample_id, key=f"row {sample_id}" if sample_id != ids[1] else None) for sample_id in ids]
    break_off(location, revocations, monkeypatch, groups=1)
    with opened(location) as run:
        answers = submit(run.coordinator, revocations)
        assert repr(submit(run.coordinator, revocations)) == repr(answers)
    receipts = issued_receipts(location)
    assert len(receipts) == len(ids)
    by_request = {receipt.request_id for receipt in receipts}
    assert [answer.request_id in by_request for answer in answers] == [sample_id != ids[1] for sample_id in ids]
    assert isinstance(answers[1].refusal, SamplesRevoked)
    assert by_request.issuperset(answers[1].refusal.request_ids)


def test_a_later_request_shares_the_remedies_of_accepted_requests(config: Config, tmp_path: Path) -> None:
    location = tmp_path / "run"
    create_run(config, location)
    ids = ids_at(config, shard=1)[:4]
    fleet = ScriptedFleet(RunStore(str(location)))
    with opened(location, fleet) as run:
        asyncio.run(run.coordinator.accept([single(sample_id) for sample_id in ids[:3]]))
        assert run.revoke(ids[3:]).shards[0].requests == 4
    assert [task.shard for task in fleet.repairs] == [1]
