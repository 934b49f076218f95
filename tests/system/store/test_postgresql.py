"""PostgreSQL as the journal's database: residue, locks, lost connections."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sql

from raymu.errors import CoordinatorSuperseded, JournalBusy, StorageFailed
from raymu.store.journal.database import Database
from raymu.store.journal.journal import Journal
from tests.support.journals import ACCEPTED, SETTLE, begin, execute, open_journal, purge
from tests.support.postgres_server import PostgresServer


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_purged_rows_are_vacuumed_and_no_raw_id_was_ever_in_the_servers_files(
    journal: Journal, url: sql.URL, postgres: PostgresServer
) -> None:
    journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
    [kept] = execute(url, "SELECT sample_ids FROM forget")
    [lying] = execute(url, "SELECT pg_relation_size('forget')")
    assert lying > 0
    purge(journal, "r")
    assert execute(url, "SELECT pg_relation_size('forget')") == [0]
    postgres.execute("CHECKPOINT")
    assert files_with(postgres.files, kept)  # in its log, which shows that the search works
    assert not files_with(postgres.files, "zoe@example.org")


def test_rows_that_could_not_be_vacuumed_at_once_are_vacuumed_with_the_next_write(
    url: sql.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymu.store.journal.dialects.LOCK_MS", 50)
    engine = sql.create_engine(url)
    with closing(begin(url)) as journal:
        journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE forget IN SHARE UPDATE EXCLUSIVE MODE")
            purge(journal, "r")
            assert journal.raw_ids_of_shard(0) == {}
        [lying] = execute(url, "SELECT pg_relation_size('forget')")
        assert lying > 0
        journal.append(SETTLE)
        assert execute(url, "SELECT pg_relation_size('forget')") == [0]
    engine.dispose()


def test_a_lost_connection_is_one_line_of_error_and_the_next_write_succeeds(
    journal: Journal, url: sql.URL, postgres: PostgresServer
) -> None:
    def write() -> None:
        with journal.writing() as transaction:
            transaction.add(SETTLE)
            postgres.disconnect(url)
            transaction.add(SETTLE)

    # Which words arrive depends on whether the server's last message is read before its socket is closed.
    with pytest.raises(StorageFailed, match=r"terminating connection|closed the connection") as refusal:
        write()
    assert "\n" not in str(refusal.value)
    assert list(journal.events()) == []
    journal.append(SETTLE)
    assert list(journal.events()) == [SETTLE]


def test_an_unreachable_server_is_one_line_of_error(url: sql.URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.store.files.retries.PAUSES_S", (0.01, 0.01))
    with (
        closing(open_journal(url.update_query_dict({"host": "/tmp/nowhere"}))) as journal,
        pytest.raises(StorageFailed, match="connection to server") as refusal,
    ):
        journal.create()
    assert "\n" not in str(refusal.value)


def test_a_coordinator_that_sleeps_within_a_transaction_loses_the_run_and_writes_nothing(
    url: sql.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymu.store.journal.dialects.IDLE_MS", 200)
    with closing(begin(url)) as sleeper, closing(open_journal(url)) as successor, ThreadPoolExecutor(1) as pool:

        def sleep() -> None:
            with sleeper.writing() as transaction:
                transaction.add(SETTLE)
                assert (
                    pool.submit(successor.take_over).result(timeout=30) == 2
                )  # once the server has ended the idle transaction
                transaction.add(SETTLE)

        with pytest.raises(CoordinatorSuperseded, match="term 2 after 1"):
            sleep()
        assert list(successor.events()) == []
        successor.append(SETTLE)


def test_a_lock_that_is_not_released_is_an_error(
    journal: Journal, url: sql.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymu.store.journal.dialects.LOCK_MS", 50)
    with closing(open_journal(url)) as successor, journal.writing() as transaction:
        transaction.add(SETTLE)
        with pytest.raises(JournalBusy, match="lock timeout"):
            successor.take_over()
    assert list(journal.events()) == [SETTLE]


def test_two_runs_can_be_created_at_once_in_an_empty_database(url: sql.URL) -> None:
    with ThreadPoolExecutor(4) as pool:
        for journal in pool.map(lambda number: begin(url, run=f"run {number}"), range(4)):
            with closing(journal):
                journal.append(SETTLE)


def test_a_commit_waits_for_the_disk_despite_the_servers_settings(url: sql.URL) -> None:
    execute(url, f"ALTER DATABASE {url.database} SET synchronous_commit = off")
    with closing(begin(url)) as journal, journal._database.reading() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"


def test_the_tables_that_raymu_creates_are_its_own_whatever_else_the_database_has(
    journal: Journal, url: sql.URL
) -> None:
    assert journal.schema_differences() == []
    execute_all(url, "CREATE TABLE payroll (name TEXT)", "CREATE INDEX payroll_names ON payroll (name)")
    assert journal.schema_differences() == []


@pytest.mark.parametrize(
    ("statements", "difference"),
    [
        (["ALTER TABLE forget ADD COLUMN copy TEXT"], "another table 'forget'"),
        (["ALTER TABLE events ALTER COLUMN kind DROP NOT NULL"], "another table 'events'"),
        (["ALTER TABLE ledger ALTER COLUMN document SET DEFAULT ''"], "another table 'ledger'"),
        (["CREATE INDEX another ON revoked (request_id)"], "a index 'another'"),
        (["ALTER TABLE forget RENAME TO old", "CREATE VIEW forget AS SELECT * FROM old"], "another kind of relation"),
        (["CREATE RULE quiet AS ON INSERT TO ledger DO INSTEAD NOTHING"], "a rule 'quiet'"),
        (["ALTER TABLE events ENABLE ROW LEVEL SECURITY"], "a row security 'events'"),
        (["CREATE TABLE heir () INHERITS (events)"], "a heir 'heir'"),
        (["ALTER TABLE runs ADD CONSTRAINT small CHECK (epoch < 9)"], "a constraint 'small'"),
        (["DROP TABLE revoked"], "no table 'revoked'"),
        (
            [
                "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
                "CREATE TRIGGER keep BEFORE DELETE ON forget FOR EACH ROW EXECUTE FUNCTION keep()",
            ],
            "a trigger 'keep'",
        ),
    ],
)
def test_a_changed_schema_is_found(journal: Journal, url: sql.URL, statements: list[str], difference: str) -> None:
    execute_all(url, *statements)
    assert any(phrase.startswith(difference) for phrase in journal.schema_differences()), journal.schema_differences()


def execute_all(url: sql.URL, *statements: str) -> None:
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_journals_of_a_process_share_connections_which_end_with_the_last_of_them(url: sql.URL) -> None:
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{url.database}' AND pid <> pg_backend_pid()"
    with closing(begin(url)) as first:
        for _ in range(3):
            with closing(open_journal(url)) as other:
                assert other.head() == first.head()
                assert execute(url, count) == [1]
    for _ in range(600):  # the server ends a closed connection's process a moment later
        if execute(url, count) == [0]:
            break
        time.sleep(0.1)
    assert execute(url, count) == [0]


def test_many_runs_of_a_process_are_at_work_side_by_side(url: sql.URL) -> None:
    """Each keeps a connection for its lock, and each reads beside it."""
    databases = [Database(url) for _ in range(24)]
    try:
        releases = [database.try_lock(f"run {number}") for number, database in enumerate(databases)]
        assert all(releases)
        assert Database(url).try_lock("run 3") is None
        for release in releases:
            assert release is not None
            release()
    finally:
        for database in databases:
            database.close()
