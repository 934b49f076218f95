"""The journal on SQLite and on PostgreSQL: what it stores, and which coordinator can write."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.events import Event
from raymu.core.records import SampleId
from raymu.errors import ConfigInvalid, CoordinatorSuperseded, FileCorrupt, RunInvalid, StorageFailed
from raymu.store.journal.batched_writes import BatchedWrites
from raymu.store.journal.database import parse_url
from raymu.store.journal.event_chain import next_head
from raymu.store.journal.journal import Journal
from tests.support.journals import ACCEPTED, SETTLE, begin, execute, open_journal, purge, purged
from tests.support.stored_records import EVENTS, names


@pytest.mark.parametrize("kind", range(len(EVENTS)))
@given(data=st.data())
def test_every_kind_of_event_is_read_back_as_it_was(shared: Journal, kind: int, data: st.DataObject) -> None:
    event = data.draw(EVENTS[kind])
    shared.append(event)
    *_, last = shared.events()
    assert last == event
    assert type(last) is type(event)


def test_every_kind_of_event_has_a_strategy() -> None:
    assert len(EVENTS) == len(Event.__args__)


@given(batches=st.lists(st.lists(st.one_of(EVENTS), min_size=1, max_size=3), max_size=4))
def test_events_keep_their_order(shared: Journal, batches: Sequence[Sequence[Event]]) -> None:
    before = list(shared.events())
    for batch in batches:
        shared.append(*batch)
    assert list(shared.events()) == before + [event for batch in batches for event in batch]


def test_a_reopened_journal_has_every_acknowledged_event(journal: Journal, url: sql.URL) -> None:
    journal.append(SETTLE, purged("r1"))
    # The first is still open: as after a crash, nothing was closed in order.
    with closing(open_journal(url, is_read_only=True)) as reader:
        assert list(reader.events()) == [SETTLE, purged("r1")]


def test_accepted_ids_are_kept_by_request_and_shard_with_their_type(journal: Journal) -> None:
    forget: dict[str, dict[int, list[SampleId]]] = {"r1": {0: [7, 8], 2: ["7", "Zoë"]}, "r2": {0: [9]}}
    journal.accept(ACCEPTED, forget=forget, hashes={"r1": ["a", "b"], "r2": ["c"]})
    assert list(journal.events()) == [ACCEPTED]
    assert journal.raw_ids_of_shard(0) == {"r1": {7, 8}, "r2": {9}}
    assert journal.raw_ids_of_shard(1) == {}
    assert journal.raw_ids_of_shard(2) == {"r1": {"7", "Zoë"}}
    assert journal.revoked_by(["a", "c", "d"]) == {"a": "r1", "c": "r2"}


@given(ids=st.lists(st.integers() | names, min_size=1, unique_by=lambda sample_id: (type(sample_id), sample_id)))
def test_any_id_is_kept_until_its_request_is_purged(shared: Journal, ids: list[SampleId]) -> None:
    shared.accept(
        ACCEPTED, forget={"r": {5: ids}}, hashes={"r": [f"revoked after {len(list(shared.events()))} events"]}
    )
    assert shared.raw_ids_of_shard(5) == {"r": set(ids)}
    purge(shared, "r")
    assert shared.raw_ids_of_shard(5) == {}


def test_requests_are_accepted_together_or_not_at_all(journal: Journal) -> None:
    journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes={"r1": ["a"]})
    with pytest.raises(StorageFailed, match=r"(?i)unique"):
        journal.accept(ACCEPTED, forget={"r2": {0: [2]}, "r3": {0: [3]}}, hashes={"r2": ["b"], "r3": ["a"]})
    assert list(journal.events()) == [ACCEPTED]
    assert journal.raw_ids_of_shard(0) == {"r1": {1}}
    assert journal.revoked_by(["a", "b"]) == {"a": "r1"}
    journal.append(SETTLE)  # the failed write was undone, so the journal continues


@pytest.mark.parametrize("count", [1, 2500])
def test_a_purge_drops_raw_ids_and_keeps_their_hashes(journal: Journal, count: int) -> None:
    requests = [f"r{number}" for number in range(count + 1)]
    journal.accept(
        ACCEPTED,
        forget={name: {0: [number]} for number, name in enumerate(requests)},
        hashes={name: [f"hash of {name}"] for name in requests},
    )
    purge(journal, *requests[1:])
    assert journal.raw_ids_of_shard(0) == {"r0": {0}}
    assert journal.raw_ids_of_requests().keys() == {"r0"}
    assert journal.revoked() == {f"hash of {name}": name for name in requests}
    assert list(journal.events()) == [ACCEPTED, purged(*requests[1:])]


def test_ids_are_readable_only_with_the_key(journal: Journal, url: sql.URL) -> None:
    journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
    assert not any("zoe" in kept for kept in execute(url, "SELECT sample_ids FROM forget"))
    with (
        closing(open_journal(url, key=b"of another run")) as stranger,
        pytest.raises(FileCorrupt, match="the journal's ids of request r on shard 0: not what was written"),
    ):
        stranger.raw_ids_of_shard(0)


FORGERIES = {
    "of another request": "UPDATE forget SET request_id = 'other'",
    "of another shard": "UPDATE forget SET shard = 1",
    "changed": "UPDATE forget SET sample_ids = replace(sample_ids, substr(sample_ids, 20, 1), '_')",
    "cut off": "UPDATE forget SET sample_ids = substr(sample_ids, 1, 8)",
}


@pytest.mark.parametrize("statement", FORGERIES.values(), ids=FORGERIES)
def test_ids_that_are_not_what_was_written_are_refused(journal: Journal, url: sql.URL, statement: str) -> None:
    journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
    execute(url, statement)
    with pytest.raises(FileCorrupt, match="the journal's ids of request"):
        _ = [journal.raw_ids_of_shard(shard) for shard in (0, 1)]


WRITES: dict[str, Callable[[Journal], None]] = {
    "append": lambda journal: journal.append(SETTLE),
    "accept": lambda journal: journal.accept(ACCEPTED, forget={"r2": {0: [2]}}, hashes={"r2": ["b"]}),
    "purge": lambda journal: purge(journal, "r1"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_superseded_coordinator_writes_nothing(
    journal: Journal, url: sql.URL, write: Callable[[Journal], None]
) -> None:
    journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes={"r1": ["a"]})
    with closing(open_journal(url)) as successor:
        term = successor.take_over()
        with pytest.raises(CoordinatorSuperseded, match=f"term {term} after {term - 1}") as refusal:
            write(journal)
        assert (refusal.value.term, refusal.value.current) == (term - 1, term)
        assert list(successor.events()) == [ACCEPTED]
        assert successor.raw_ids_of_shard(0) == {"r1": {1}}
        write(successor)
        assert len(list(journal.events())) == 2  # reading stays allowed


def test_a_write_during_a_takeover_waits_and_is_refused(journal: Journal, url: sql.URL) -> None:
    with closing(open_journal(url)) as successor, ThreadPoolExecutor(1) as pool:

        def announce(_term: int) -> None:
            late.append(pool.submit(journal.append, SETTLE))
            assert not wait(late, timeout=0.2).done  # until the other's transaction is over

        late: list[Future[None]] = []
        successor.take_over(announce)
        with pytest.raises(CoordinatorSuperseded):
            late[0].result()
        assert list(successor.events()) == []


def test_a_take_over_waits_until_what_is_being_written_is_committed(journal: Journal, url: sql.URL) -> None:
    with closing(open_journal(url)) as successor, ThreadPoolExecutor(1) as pool:
        with journal.writing() as transaction:
            transaction.add(SETTLE)
            taking_over = pool.submit(successor.take_over)
            assert not wait([taking_over], timeout=0.2).done
        assert taking_over.result(timeout=10) == 2
        assert list(successor.events()) == [SETTLE]
        with pytest.raises(CoordinatorSuperseded):
            journal.append(SETTLE)
        successor.append(SETTLE)


def test_terms_rise_with_every_takeover(url: sql.URL) -> None:
    journals = [begin(url), open_journal(url), open_journal(url)]
    assert [journal.take_over() for journal in journals] == [2, 3, 4]
    for journal in journals:
        journal.close()


@pytest.mark.parametrize("count", [0, 999, 1000, 1001, 3400])
def test_any_number_of_hashes_is_looked_up(journal: Journal, count: int) -> None:
    revoked = [f"{number:064x}" for number in range(count)]
    journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes={"r1": [*revoked, "last"]})
    pseudonyms = [hashed for number in range(count) for hashed in (f"{number:064x}", f"unknown {number}")]
    assert journal.revoked_by(pseudonyms) == dict.fromkeys(revoked, "r1")


CHANGES = {
    "changed": "UPDATE events SET payload = replace(payload, '[1]', '[2]') WHERE sequence = 2",
    "missing": "DELETE FROM events WHERE sequence = 2",
    "put elsewhere": "UPDATE events SET sequence = 10 - sequence",
    "made up": "INSERT INTO events SELECT run, 4, kind, payload, seal FROM events WHERE sequence = 3",
    "of another run": "UPDATE events SET run = 'other' WHERE sequence = 1",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_an_event_that_is_not_what_was_written_is_named(journal: Journal, url: sql.URL, statement: str) -> None:
    journal.append(ACCEPTED, SETTLE, purged("r"))
    execute(url, statement)
    with pytest.raises(FileCorrupt, match=r"journal event \d+: it, or one before it, is not what was written"):
        list(journal.events())


NEWER = {
    "a kind": '{"at":"2024-05-06T07:08:09Z","kind":"merged"}',
    "a field": '{"at":"2024-05-06T07:08:09Z","kind":"settle","shards":[1],"until":7}',
    "a field further down": '{"at":"2024-05-06T07:08:09Z","files":[{"path":"a","sha256":"b","byte_size":1,"copies":2}],'
    '"kind":"purged","request_ids":[],"rows":0}',
    "another meaning": '{"at":"2024-05-06T07:08:09Z","kind":"published","manifest_sha256":"","number":"second"}',
}


@pytest.mark.parametrize("payload", NEWER.values(), ids=NEWER)
def test_an_event_of_a_newer_format_is_refused_in_one_line(journal: Journal, url: sql.URL, payload: str) -> None:
    """It is not damage, because its seal is valid."""
    journal.append(SETTLE)
    head = next_head(journal.head(), payload, b"key")
    kind = json.loads(payload)["kind"]
    execute(url, f"INSERT INTO events VALUES ('run', 2, '{kind}', '{payload}', '{head.seal}')")
    with pytest.raises(
        RunInvalid, match=r"journal event 2: was written by a newer raymu \(.*\); update raymu"
    ) as refusal:
        list(journal.events())
    assert "\n" not in str(refusal.value)
    if kind == "published":
        with pytest.raises(RunInvalid, match="newer raymu"):
            journal.published()


def test_the_seals_need_the_key(journal: Journal, url: sql.URL) -> None:
    journal.append(SETTLE)
    with closing(open_journal(url, key=b"of another run")) as stranger, pytest.raises(FileCorrupt, match="event 1"):
        list(stranger.events())


COMMIT, SEND = sql.Connection._commit_impl, BatchedWrites.send


def lose_answers(patch: pytest.MonkeyPatch) -> None:
    """Let every commit, of SQLite or of PostgreSQL, seem to fail."""

    def commit(connection: sql.Connection) -> None:
        COMMIT(connection)
        raise sql.exc.OperationalError("COMMIT", None, ConnectionError("connection lost"))

    def send(writes: BatchedWrites) -> None:
        SEND(writes)
        if writes._is_server and writes._later:
            raise sql.exc.OperationalError("COMMIT", None, ConnectionError("connection lost"))

    patch.setattr(sql.Connection, "_commit_impl", commit)
    patch.setattr(BatchedWrites, "send", send)


def test_a_commit_that_succeeded_despite_an_error_is_found_and_the_work_goes_on(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection may be lost between the commit and its acknowledgement."""
    with monkeypatch.context() as patch:
        lose_answers(patch)
        journal.append(SETTLE)
    journal.append(SETTLE)
    assert list(journal.events()) == [SETTLE, SETTLE]


def test_a_commit_that_failed_is_no_event(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_the_request(connection: sql.Connection) -> None:
        connection.get_transaction()
        connection._rollback_impl()
        raise sql.exc.OperationalError("COMMIT", None, ValueError("no room"))

    def send_nothing(writes: BatchedWrites) -> None:
        if writes._is_server:
            raise sql.exc.OperationalError("COMMIT", None, ValueError("no room"))

    with monkeypatch.context() as patch:
        patch.setattr(sql.Connection, "_commit_impl", lose_the_request)
        patch.setattr(BatchedWrites, "send", send_nothing)
        patch.setattr("raymu.store.files.retries.PAUSES_S", (0.0,))
        with pytest.raises(StorageFailed, match="no room"):
            journal.append(SETTLE)
    assert list(journal.events()) == []
    journal.append(SETTLE)
    assert list(journal.events()) == [SETTLE]


def test_a_commit_whose_success_cannot_be_found_out_is_noticed_before_the_next_write(
    journal: Journal, url: sql.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        lose_answers(patch)
        patch.setattr(Journal, "_has_committed", lambda _journal, _head: False)
        patch.setattr("raymu.store.files.retries.PAUSES_S", ())
        with pytest.raises(StorageFailed, match="connection lost"):
            journal.append(SETTLE)
    with pytest.raises(RunInvalid, match="a write that seemed to have failed; open the run again"):
        journal.append(SETTLE)
    with closing(open_journal(url)) as successor:
        successor.take_over()
        assert list(successor.events()) == [SETTLE]
        successor.append(SETTLE)


def test_runs_that_share_a_database_do_not_mix(journal: Journal, url: sql.URL) -> None:
    with closing(begin(url, run="other", key=b"other key")) as other:
        hashes = {"r1": ["a"]}
        journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes=hashes)
        other.accept(ACCEPTED, forget={"r1": {0: [2]}}, hashes=hashes)
        other.append(SETTLE)
        assert [len(list(each.events())) for each in (journal, other)] == [1, 2]
        assert other.raw_ids_of_shard(0) == {"r1": {2}}
        purge(journal, "r1")
        assert not journal.raw_ids_of_shard(0)
        assert (set(journal.raw_ids_of_requests()), set(other.raw_ids_of_requests())) == (set(), {"r1"})
        assert other.raw_ids_of_shard(0) == {"r1": {2}}
        journal.append(SETTLE)  # its term is its own
        assert (journal.head().sequence, other.head().sequence) == (3, 2)


@pytest.mark.usefixtures("journal")
def test_a_database_that_does_not_know_the_run_is_refused(url: sql.URL) -> None:
    with closing(open_journal(url, run="stranger")) as stranger:
        for ask in (stranger.take_over, stranger.term):
            with pytest.raises(RunInvalid, match="does not know run stranger"):
                ask()


def test_readers_neither_write_nor_wait(journal: Journal, url: sql.URL) -> None:
    journal.append(SETTLE)
    with closing(open_journal(url, is_read_only=True)) as reader:
        with journal.writing() as transaction:
            transaction.add(ACCEPTED)
            assert list(reader.events()) == [SETTLE]
        assert list(reader.events()) == [SETTLE, ACCEPTED]
        with pytest.raises(StorageFailed, match=r"read-?only"):
            reader.take_over()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not a url", "not a database URL"),
        ("nosuch://host/db", "nosuch is not supported"),
        ("mysql+nosuch://host/db", "use PostgreSQL, or SQLite"),
        ("oracle://host/db", "use PostgreSQL, or SQLite"),
        ("postgresql+psycopg2://me:secret@host/db", "pip install 'raymu.postgres.'"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(text: str, complaint: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"cluster\.journal.*{complaint}") as refusal:
        parse_url(text)
    assert "secret" not in str(refusal.value)


def test_a_url_of_postgresql_needs_no_driver_named() -> None:
    assert parse_url("postgresql://host/db").drivername == "postgresql+psycopg"


def test_the_next_coordinator_reads_the_snapshot_of_the_one_before_while_others_read(
    url: sql.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymu.store.journal.dialects.SQLITE_BUSY_MS", 200)  # it waits for readers, and then goes on
    with closing(begin(url)) as journal, closing(open_journal(url, is_read_only=True)) as reader:
        journal.append(*[SETTLE] * 3)
        with journal.writing() as transaction:
            transaction.save_snapshot(transaction.head, "the state after three events")
        saved = journal.head()
        journal.append(*[ACCEPTED] * 40)
        reading = reader.sealed_events()
        assert next(reading)[0].sequence == 1
        with closing(open_journal(url)) as successor:
            successor.take_over()
            assert successor.snapshot() == (saved, "the state after three events")
            assert [event for _, event in successor.sealed_events(after=saved)] == [ACCEPTED] * 40
            with successor.writing() as transaction:
                transaction.save_snapshot(transaction.head, "the state after all events")
            assert successor.snapshot() == (successor.head(), "the state after all events")
            assert len(list(reading)) == 42
            assert reader.snapshot() == (successor.head(), "the state after all events")
            assert reader.position() == (2, successor.head())
            with pytest.raises(CoordinatorSuperseded), journal.writing() as transaction:
                transaction.save_snapshot(transaction.head, "of a superseded coordinator")
