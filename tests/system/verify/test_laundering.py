"""No command of the owner hides what an attacker changed: a writer refuses what verification refuses."""

import asyncio
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from raymu.api import Run, open_run
from raymu.core.verdict import Verdict
from raymu.errors import FileCorrupt, RaymuError, RunInvalid
from raymu.service.shard.messages import RepairTask
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events, opened
from tests.support.examples import create_run, make_config, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.system.verify.laundering import ATTACKS, OF_THE_JOURNAL, Attack

ON_EVERY_CHANGE, NIGHTLY = 4, 130
"""Draws of each attack."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs.

    `run` settled one request, and only patched another; `interrupted` was killed in the middle of a third; `before` is the
    run before all of them.
    """
    folder = tmp_path_factory.mktemp("laundering")
    write_samples(folder / "all.parquet", samples=80)
    config = make_config(folder / "all.parquet")
    create_run(config, folder / "before")
    shutil.copytree(folder / "before", folder / "run")
    for strategy, number in (("sisa", 0), ("dpus", 1)):
        with opened(folder / "run") as run:
            run.revoke(ids_at(config, shard=0, slice_index=1)[number : number + 1], strategy=strategy)
    shutil.copytree(folder / "run", folder / "interrupted")
    fleet = ScriptedFleet(RunStore(str(folder / "interrupted")), after=stop_with_the_coordinator)
    with suppress(asyncio.CancelledError), opened(folder / "interrupted", fleet) as run:
        run.revoke(ids_at(config, shard=1, slice_index=1)[:1], strategy="sisa")
    return folder


def stop_with_the_coordinator(_task: RepairTask) -> None:
    """Stop between a worker's report and the journal."""
    raise asyncio.CancelledError


@pytest.fixture
def location(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


def verdict(location: Path, *, is_replayed: bool = False) -> Verdict:
    try:
        return Run(location).verify(replay=[0, 1] if is_replayed else ()).verdict
    except RaymuError:  # no run at all
        return Verdict.FAIL


def settle(location: Path) -> RaymuError | None:
    try:
        with open_run(location) as run:
            run.settle()
    except RaymuError as error:
        return error
    return None


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def copies(folder: Path, tmp_path: Path, count: int) -> Iterator[tuple[Path, random.Random]]:
    for number in range(count):
        (tmp_path / str(number) / "outside").mkdir(parents=True)
        (tmp_path / str(number) / "outside" / "thesis.txt").write_text("mine")
        shutil.copytree(folder / "before", tmp_path / str(number) / "before")
        name = "interrupted" if number % 3 == 2 else "run"
        location = Path(shutil.copytree(folder / name, tmp_path / str(number) / "run"))
        open_run(location).status()  # as its user did before
        yield location, random.Random(number)
        shutil.rmtree(tmp_path / str(number))
        shutil.rmtree(tmp_path / "anchors", ignore_errors=True)  # of other copies of the run, which went on


@pytest.fixture(autouse=True)
def _anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMU_ANCHORS", str(tmp_path / "anchors"))


@pytest.fixture(scope="module")
def changes(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Counts the changes by their kind. The counts are printed with --nightly."""
    counts: Counter[str] = Counter()
    yield counts
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if request.config.getoption("--nightly") and reporter is not None:
        for kind, count in sorted(counts.items()):
            reporter.write_line(f"{count:7,} {kind}")


def check_attack(folder: Path, tmp_path: Path, name: str, attack: Attack, draws: int) -> None:
    for location, chance in copies(folder, tmp_path, draws):
        attack(location, chance)
        outside = content(location.with_name("outside"))
        before = verdict(location)
        refusal = settle(location)
        after = verdict(location)
        what = f"{name}, {location}: {before}, {refusal}, {after}"
        assert content(location.with_name("outside")) == outside, what
        if before is not Verdict.FAIL or after is not Verdict.PASS:
            continue
        assert name not in OF_THE_JOURNAL, what
        assert verdict(location, is_replayed=True) is Verdict.PASS, f"{what}: it was hidden, not mended"


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_that_was_changed_is_sealed_anew(folder: Path, tmp_path: Path, name: str) -> None:
    check_attack(folder, tmp_path, name, ATTACKS[name], ON_EVERY_CHANGE)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_that_was_changed_at_random_is_sealed_anew(
    folder: Path, tmp_path: Path, changes: Counter[str], name: str
) -> None:
    check_attack(folder, tmp_path, name, ATTACKS[name], NIGHTLY)
    changes[name] += NIGHTLY


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE events SET kind = 'failed' WHERE kind = 'published'"],
        ["UPDATE runs SET epoch = epoch + 1"],
        ["UPDATE runs SET epoch = epoch + 40"],
        ["CREATE TRIGGER keep AFTER DELETE ON forget BEGIN INSERT INTO revoked VALUES ('r', OLD.sample_ids, 'x'); END"],
        ["ALTER TABLE forget RENAME TO old", "CREATE VIEW forget AS SELECT * FROM old"],
        ["CREATE TABLE notes (id INTEGER)"],
        ["CREATE INDEX another ON events (kind)"],
        ["ALTER TABLE revoked ADD COLUMN sample_id TEXT"],
        ["UPDATE ledger SET document = replace(document, 'sisa', 'dpus')"],
        ["DELETE FROM ledger WHERE number = 2"],
    ],
)
def test_a_writer_refuses_a_journal_that_was_changed_and_changes_nothing(location: Path, statements: list[str]) -> None:
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    before = content(location)
    assert verdict(location) is Verdict.FAIL
    assert isinstance(settle(location), FileCorrupt | RunInvalid)
    assert content(location) == before
    assert verdict(location) is Verdict.FAIL


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET kind = 'failed' WHERE kind = 'evaluated' OR kind = 'resumed' OR kind = 'settle'",
        "CREATE TRIGGER keep AFTER DELETE ON forget BEGIN INSERT INTO revoked VALUES ('r', OLD.sample_ids, 'x'); END",
        "DELETE FROM ledger WHERE number = 2",
        "UPDATE ledger SET document = replace(document, 'exact', 'exalt')",
    ],
)
def test_an_interrupted_coordinator_is_no_cover_for_changes(location: Path, statement: str) -> None:
    """A journal that was not closed has no valid seal of its file: its content is checked all the same."""
    journal, _ = RunStore(str(location)).take_over()
    journal.close()
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        changed = connection.execute(statement).rowcount
        connection.commit()
    if changed == 0:
        pytest.skip("the run has no such row")
    assert verdict(location) is Verdict.FAIL
    assert isinstance(settle(location), FileCorrupt)
    assert verdict(location) is Verdict.FAIL


def test_a_planted_trigger_keeps_no_id_because_nothing_is_written_any_more(location: Path) -> None:
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        connection.execute(
            "CREATE TRIGGER keep AFTER INSERT ON forget BEGIN INSERT INTO revoked VALUES ('r', NEW.sample_ids, 'x'); END"
        )
        connection.commit()
    config, events = RunStore(str(location)).config, len(journal_events(location))
    with pytest.raises(FileCorrupt, match="trigger 'keep'"), opened(location) as run:
        run.revoke(ids_at(config, shard=1)[:1])
    assert len(journal_events(location)) == events


def test_new_keys_that_sign_all_receipts_anew_are_refused(location: Path) -> None:
    ATTACKS["the keys"](location, random.Random(0))
    assert verdict(location) is Verdict.FAIL
    assert isinstance(settle(location), FileCorrupt)


def test_a_sound_run_is_settled_and_passes(location: Path) -> None:
    assert settle(location) is None
    assert verdict(location, is_replayed=True) is Verdict.PASS
