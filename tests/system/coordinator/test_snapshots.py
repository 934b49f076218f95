"""Opening a run reads the newest snapshot and what came after it. The state is the same as of a replay of all events."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from raymu.config.unlearning import Strategy
from raymu.core.receipts import Receipts
from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.errors import FileCorrupt
from raymu.service import snapshot as snapshots
from raymu.service.history import History, open_history, replay
from raymu.service.requests.lookup import find_requests
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.service.status import receipts, receipts_of, status
from raymu.service.verify.verify import verify
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events, opened
from tests.support.golden_journals import GOLDEN, restore
from tests.support.trained_runs import TrainedRun, TrainedRunFactory
from tests.system.verify.forgery import execute


@pytest.fixture
def run(trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch) -> TrainedRun:
    """A run that saves its state at every chance, with two settled requests and a patched one."""
    monkeypatch.setattr(snapshots, "EVENTS_PER_SNAPSHOT", 1)
    run = trained_run()
    ids = ids_at(run.store.config, shard=0, slice_index=1)
    for number, strategy in enumerate(("sisa", "dpus", "dpus")):
        with opened(run.location) as coordinated:
            coordinated.revoke(ids[number : number + 1], strategy=strategy, key=f"order {number}")
            if number == 1:
                coordinated.settle()
    return run


def read(store: RunStore, *, is_whole: bool) -> History:
    with closing(store.journal(is_read_only=True)) as journal:
        return replay(journal, store.manifest) if is_whole else open_history(store, journal)


def snapshot_sequence(store: RunStore) -> int:
    with closing(store.journal(is_read_only=True)) as journal:
        stored = journal.snapshot()
        return stored[0].sequence if stored else 0


def facts(history: History) -> dict[str, Any]:
    return {
        "board": history.board.state(),
        "receipts": history.receipts.state(),
        "published": history.published,
        "configured": history.configured,
        "measured": history.measured,
        "conversions": history.conversions,
        "trained_on": history.trained_on,
        "epochs": history.epochs,
    }


def events_read(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    counts = [0]
    sealed_events = Journal.sealed_events

    def counted(journal: Journal, **named: Any) -> Any:
        for item in sealed_events(journal, **named):
            counts[0] += 1
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sealed_events", counted)
        status(store)
    yield counts[0]


def test_some_receipts_are_those_that_all_receipts_have(run: TrainedRun) -> None:
    """Two of the requests are done, and looked up beside the snapshot."""
    store = RunStore(str(run.location))
    every = [receipt.at(receipt.accepted_at) for receipt in receipts(store)]
    for chosen in ([every[0]], [every[2], every[0]], every):
        ids = [*(receipt.request_id for receipt in chosen), "unknown"]
        some = [receipt.at(receipt.accepted_at) for receipt in receipts_of(store, ids)]
        assert some == sorted(chosen, key=lambda receipt: receipt.accepted_at)
    assert receipts_of(store, ["unknown"]) == ()


def test_a_snapshot_and_the_events_after_it_give_the_state_of_all_events(run: TrainedRun) -> None:
    history = read(run.store, is_whole=False)
    assert history.after is not None
    assert history.cost.events < len(journal_events(run.location))
    assert facts(history) == facts(read(run.store, is_whole=True))
    assert verify(run.store, no_progress).verdict is not Verdict.FAIL


def test_opening_reads_only_the_events_after_the_snapshot(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    [count] = events_read(run.store, monkeypatch)
    assert count < 8
    execute(run.location, "DELETE FROM snapshots")
    [count] = events_read(run.store, monkeypatch)
    assert count == len(journal_events(run.location))


def test_a_submission_of_many_requests_is_followed_by_a_snapshot(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its few events take as long to read as many, since each names all the requests."""
    monkeypatch.setattr(snapshots, "REQUESTS_PER_SNAPSHOT", 10)
    run = trained_run()
    ids = ids_at(run.store.config, shard=0, slice_index=1)[:3]
    with opened(run.location) as coordinated:
        coordinated.revoke(ids[:1], strategy="sisa")
    before = snapshot_sequence(run.store)
    with opened(run.location) as coordinated:
        revocations = [Revocation(ids=(sample_id,), strategy=Strategy.SISA) for sample_id in ids[1:]]
        asyncio.run(coordinated.coordinator.submit(revocations, no_progress))
    history = read(run.store, is_whole=False)
    assert snapshot_sequence(run.store) > before
    assert history.cost.requests < 10
    assert facts(history) == facts(read(run.store, is_whole=True))


def test_receipts_that_are_done_are_looked_up_and_those_of_patches_are_upgraded(run: TrainedRun) -> None:
    before = receipts(run.store)
    assert [receipt.is_exact for receipt in before] == [True, True, False]
    with opened(run.location) as coordinated:
        book: Receipts = coordinated.coordinator._executor.receipts
        assert [receipt.request_id for receipt in book.open] == [before[2].request_id]
        assert coordinated.coordinator.receipt(before[0].request_id) == before[0]
        settled = asyncio.run(coordinated.coordinator.settle(no_progress))
        assert settled.request_ids == (before[2].request_id,)
        assert book.open == ()
        assert coordinated.coordinator.receipts() == receipts(run.store)
    assert [receipt.exactness for receipt in receipts(run.store)] == [Exactness.EXACT] * 3
    assert status(run.store).requests.settled == 3
    assert verify(run.store, no_progress).verdict is Verdict.PASS


def test_a_key_of_a_request_that_is_done_is_known(run: TrainedRun) -> None:
    first, _, last = (receipt.request_id for receipt in receipts(run.store))
    assert [each.request_id for each in find_requests(run.store, keys=["order 0", "order 2", "order 9"])] == [
        first,
        last,
        None,
    ]
    ids = ids_at(run.store.config, shard=0, slice_index=1)[:1]
    events = len(journal_events(run.location))
    with opened(run.location) as coordinated:
        [receipt] = asyncio.run(
            coordinated.coordinator.revoke([Revocation(ids=tuple(ids), strategy="sisa", key="order 0")], no_progress)
        )
    assert receipt.request_id == first
    assert len(journal_events(run.location)) == events


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshots SET payload = replace(payload, 'exact', 'exalt')",
        "UPDATE snapshots SET sequence = sequence - 1",
        "UPDATE snapshots SET seal = 'x'",
        "DELETE FROM snapshots",
    ],
)
def test_a_damaged_snapshot_is_found_and_never_used(run: TrainedRun, statement: str) -> None:
    journal, _ = RunStore(str(run.location)).take_over()  # interrupted, so that no seal of the file covers it
    journal.close()
    expected = facts(read(run.store, is_whole=True))
    execute(run.location, statement)
    assert facts(read(run.store, is_whole=False)) == expected
    if not statement.startswith("DELETE"):
        assert verify(run.store, no_progress).verdict is Verdict.FAIL
    with opened(run.location):
        pass
    assert read(run.store, is_whole=False).after is not None
    assert verify(run.store, no_progress).verdict is not Verdict.FAIL


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger WHERE number = (SELECT MAX(number) FROM ledger)",
        "UPDATE ledger SET document = replace(document, 'dpus', 'sisa') WHERE number = (SELECT MAX(number) FROM ledger)",
        "UPDATE events SET payload = replace(payload, 'Z', 'Y') WHERE sequence = (SELECT MAX(sequence) FROM events)",
        "DELETE FROM events WHERE sequence = (SELECT sequence FROM snapshots)",
        "INSERT INTO forget SELECT run, request_id, 7, 'MQ==' FROM ledger WHERE number = 1",
    ],
)
def test_what_is_read_is_checked_after_a_snapshot_too(run: TrainedRun, statement: str) -> None:
    journal, _ = RunStore(str(run.location)).take_over()
    journal.close()
    execute(run.location, statement)
    assert verify(run.store, no_progress).verdict is Verdict.FAIL
    with pytest.raises(FileCorrupt), opened(run.location):
        pass


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET document = replace(document, 'sisa', 'dpus') WHERE number = 1",
        "UPDATE events SET payload = replace(payload, 'sisa', 'dpus') WHERE kind = 'accepted'",
        "DELETE FROM revoked",
        "DELETE FROM requests WHERE sequence = (SELECT MIN(sequence) FROM requests)",
    ],
)
def test_what_is_not_read_on_opening_stays_a_finding_of_verify(run: TrainedRun, statement: str) -> None:
    with opened(run.location) as coordinated:
        coordinated.settle()
    journal, _ = RunStore(str(run.location)).take_over()
    journal.close()
    execute(run.location, statement)
    assert verify(run.store, no_progress).verdict is Verdict.FAIL
    with opened(run.location):
        pass
    assert verify(run.store, no_progress).verdict is Verdict.FAIL


def test_a_file_that_is_too_long_to_be_hashed_on_opening_is_hashed_by_verify(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymu.store.run.MOST_HASHED_ON_OPENING", 10)
    execute(run.location, "UPDATE ledger SET document = replace(document, 'sisa', 'dpus') WHERE number = 1")
    assert verify(run.store, no_progress).verdict is Verdict.FAIL
    with opened(run.location):
        pass
    assert verify(run.store, no_progress).verdict is Verdict.FAIL


@pytest.mark.parametrize("folder", sorted(GOLDEN.iterdir()), ids=lambda folder: folder.name)
def test_a_golden_journal_has_the_same_state_after_any_of_its_events(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is saved after each event in turn, and the events after it are read."""
    store = restore(folder, tmp_path / "run")
    whole = facts(read(store, is_whole=True))
    with closing(store.journal()) as journal:
        heads = [head for head, _ in journal.sealed_events()]
        for head in heads[:: max(1, len(heads) // 12)]:
            with monkeypatch.context() as patch:
                events = [event for at, event in journal.sealed_events() if at.sequence <= head.sequence]
                patch.setattr(Journal, "events", lambda _journal, events=events: iter(events))
                history = replay(journal, store.manifest)
            rows = journal.receipt_rows()[: len(history.issued)]
            payload = snapshots.to_payload(history.snapshot(rows[-1] if rows else None))
            monkeypatch.setattr(Journal, "snapshot", lambda _journal, head=head, payload=payload: (head, payload))
            assert facts(read(store, is_whole=False)) == whole, head.sequence


@pytest.mark.parametrize("folder", sorted(GOLDEN.iterdir()), ids=lambda folder: folder.name)
def test_a_journal_of_an_earlier_version_gets_the_tables_at_its_next_takeover(folder: Path, tmp_path: Path) -> None:
    store = restore(folder, tmp_path / "run")
    whole = facts(read(store, is_whole=True))
    for table in ("requests", "snapshots"):
        execute(tmp_path / "run", f"DROP TABLE {table}")
    with closing(store.journal(is_read_only=True)) as journal:
        keys = journal.requests_by_key([*read(store, is_whole=True).requests_by_key])
        assert facts(open_history(store, journal)) == whole
        assert journal.schema_differences() == []
    (tmp_path / "run" / "epoch").write_text("0")
    with closing(store.journal()) as journal:
        journal.take_over()
        assert journal.requests_by_key([*keys]) == keys
        assert journal.schema_differences() == []
        history = open_history(store, journal)
        with journal.writing() as transaction:
            payload = snapshots.to_payload(history.snapshot(transaction.last_receipt()))
            transaction.save_snapshot(transaction.head, payload)
        assert journal.snapshot() == (journal.head(), payload)
        assert facts(open_history(store, journal)) == whole
    engine = sql.create_engine(f"sqlite:///{tmp_path / 'run' / 'journal.sqlite'}")
    assert {"requests", "snapshots"} <= set(sql.inspect(engine).get_table_names())
    engine.dispose()
