"""A user keeps the last event of each run that they used, outside of the run, and a run that lost it is noticed."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raymu.core.events import WorkResumed
from raymu.errors import ConfigInvalid
from raymu.store import anchors
from raymu.store.anchors import KeptAnchors, MissingEvent, anchors_folder
from raymu.store.creation import create_run
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RAYMU_ANCHORS")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "raymu" / "anchors"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    store = RunStore(str(tmp_path / "run"))
    create_run(store, MANIFEST)
    go_on(tmp_path / "run")
    return tmp_path / "run"


def go_on(location: Path, events: int = 1) -> None:
    store = RunStore(str(location))
    journal, term = store.take_over()
    journal.append(*(WorkResumed(at=datetime.now(UTC)) for _ in range(events)))
    store.fencing.release(journal, term)


def missing(location: Path) -> MissingEvent | None:
    return KeptAnchors(RunStore(str(location))).missing_event()


def put_back(copy: Path, location: Path) -> None:
    shutil.rmtree(location)
    shutil.copytree(copy, location)


def test_a_run_that_goes_on_lacks_nothing(run: Path, kept: Path) -> None:
    assert missing(run) is None
    [file] = kept.iterdir()
    before = json.loads(file.read_text())["anchors"]
    go_on(run)
    assert missing(run) is None
    assert json.loads(file.read_text())["anchors"].keys() == before.keys()
    assert json.loads(file.read_text()) != before
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_run_that_was_put_back_to_an_older_copy_lacks_an_event_until_that_is_accepted(
    run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "old")
    go_on(run, events=2)
    assert missing(run) is None
    put_back(tmp_path / "old", run)
    for _ in range(2):  # nothing is kept of such a run
        assert missing(run) == MissingEvent(sequence=3, place=str(run), is_here=True)
    KeptAnchors(RunStore(str(run))).accept()
    assert missing(run) is None


def test_a_run_that_was_put_back_and_went_on_by_itself_lacks_the_event_too(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "old")
    go_on(run)
    missing(run)
    put_back(tmp_path / "old", run)
    go_on(run, events=5)
    event = missing(run)
    assert event
    assert event.sequence == 2


def test_copies_and_moves_of_the_run_as_it_is_lack_nothing(run: Path, tmp_path: Path) -> None:
    missing(run)
    copy = shutil.copytree(run, tmp_path / "copy")
    assert missing(copy) is None
    go_on(copy)
    assert missing(copy) is None
    assert missing(run) is None  # a copy that goes on by itself says nothing about the run
    run.rename(tmp_path / "moved")
    assert missing(tmp_path / "moved") is None


def test_an_older_copy_elsewhere_is_known_as_one(run: Path, tmp_path: Path) -> None:
    missing(run)
    copy = shutil.copytree(run, tmp_path / "copy")
    go_on(run)
    missing(run)
    for _ in range(2):
        assert missing(copy) == MissingEvent(sequence=2, place=str(run), is_here=False)
    KeptAnchors(RunStore(str(copy))).accept()
    assert missing(copy) is None


def test_a_run_has_one_place_under_all_its_names(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "link").symlink_to(run)
    go_on(run)
    missing(tmp_path / "link")
    put_back(tmp_path / "old", run)
    monkeypatch.chdir(tmp_path)
    event = KeptAnchors(RunStore("run")).missing_event()
    assert event
    assert event.is_here


def test_an_event_that_nobody_with_the_key_wrote_is_not_kept(run: Path, kept: Path) -> None:
    store = RunStore(str(run))
    missing(run)
    [file] = kept.iterdir()
    before = file.read_bytes()
    journal = store.journal()
    with journal._database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO events SELECT run, 9, 'resumed', payload, 'abc' FROM events")
    journal.close()
    assert missing(run) is None
    assert file.read_bytes() == before


def test_a_home_that_cannot_be_written_is_no_obstacle(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for variables in ({"XDG_STATE_HOME": str(tmp_path / "file")}, {"RAYMU_ANCHORS": "off"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert missing(run) is None
        KeptAnchors(RunStore(str(run))).remember()
        KeptAnchors(RunStore(str(run))).accept()
    assert (tmp_path / "file").read_text() == ""


def test_a_place_that_the_user_named_and_that_fails_is_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAYMU_ANCHORS", str(tmp_path / "file"))
    assert missing(run) is None
    assert any("no anchor is compared or kept in RAYMU_ANCHORS" in record.getMessage() for record in caplog.records)
    monkeypatch.setenv("RAYMU_ANCHORS", "nowhere://office/anchors")
    with pytest.raises(ConfigInvalid, match=r"RAYMU_ANCHORS: .*; name a folder or a URI, or off"):
        missing(run)


def test_the_folder_is_chosen_by_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert anchors_folder() == str(tmp_path / "state" / "raymu" / "anchors")
    monkeypatch.setenv("RAYMU_ANCHORS", "s3://office/anchors")
    assert anchors_folder() == "s3://office/anchors"
    monkeypatch.setenv("RAYMU_ANCHORS", "off")
    assert anchors_folder() is None
    monkeypatch.delenv("RAYMU_ANCHORS")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert anchors_folder() == str(tmp_path / ".local" / "state" / "raymu" / "anchors")


@pytest.mark.parametrize("payload", ["", "[]", '{"anchors": {"here": "x"}}', '{"anchors": 3}', "[" * 100_000])
def test_a_file_that_is_no_anchors_is_refused_by_its_name(run: Path, kept: Path, payload: str) -> None:
    missing(run)
    [file] = kept.iterdir()
    file.write_text(payload)
    with pytest.raises(ConfigInvalid, match=r"anchors; restore or delete it"):
        missing(run)


def test_a_run_that_was_put_back_to_its_beginning_can_be_accepted(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "new"))
    create_run(store, MANIFEST)
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    go_on(tmp_path / "new")
    missing(tmp_path / "new")
    put_back(tmp_path / "old", tmp_path / "new")
    assert missing(tmp_path / "new")
    KeptAnchors(RunStore(str(tmp_path / "new"))).accept()
    assert missing(tmp_path / "new") is None


def test_a_run_that_was_copied_often_has_a_small_file(
    run: Path, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchors, "_MOST_PLACES", 2)
    for number in range(5):
        missing(shutil.copytree(run, tmp_path / str(number)))
    [file] = kept.iterdir()
    assert len(json.loads(file.read_text())["anchors"]) == 3
