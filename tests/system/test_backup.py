"""A backup holds one state of a run, also beside revocations, and a restored run predicts and verifies as that state did."""

import json
import shutil
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import raymu
from raymu.cli import run_command
from raymu.core.verdict import Verdict
from raymu.errors import FileCorrupt, RequestInvalid, RunInvalid, RunRolledBack
from raymu.service import backup as backup_module
from raymu.store.journal.fencing import Fencing
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples

FEATURES = np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(4, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_samples(tmp_path / "all.parquet", samples=160)
    return tmp_path


def train(folder: Path, **branches: Any) -> raymu.Run:
    config = make_config(
        folder / "all.parquet", training={"epochs": 2}, partition={"shards": 2, "slices": 2}, **branches
    )
    return raymu.train(config, folder / "run")


def names(folder: Path) -> set[str]:
    return {file.name for file in (folder / "files").iterdir()}


def test_a_restored_run_predicts_as_the_run_did(folder: Path) -> None:
    with train(folder) as run:
        run.revoke([1000], strategy="sisa")
        made = run.backup(folder / "backup")
        before = run.predict(FEATURES)
        run.revoke([1007], strategy="sisa")
    assert made.copied == made.files == len(names(folder / "backup"))
    with raymu.restore(folder / "backup", folder / "elsewhere", accept_rollback=True) as restored:
        assert restored.predict(FEATURES).tobytes() == before.tobytes()
        assert restored.verify(replay=None).verdict is Verdict.PASS
        restored.revoke([1007], strategy="sisa")
        assert restored.verify().verdict is Verdict.PASS


def test_a_second_backup_copies_what_is_new_and_destroys_what_was_purged(folder: Path) -> None:
    with train(folder) as run:
        run.backup(folder / "backup")
        first = names(folder / "backup")
        run.revoke([1000], strategy="sisa")
        made = run.backup(folder / "backup")
    second = names(folder / "backup")
    assert first & second, "files that did not change are kept"
    assert made.copied == len(second - first) < len(second)
    assert made.destroyed == len(first - second) > 0
    generation = RunStore(str(folder / "run")).current()
    assert second >= {file.sha256 for lineage in generation.lineages for file in lineage.files}


def test_a_backup_is_one_state_while_requests_are_carried_out(folder: Path) -> None:
    states: dict[int, bytes] = {}
    with train(folder) as run:

        def revoke() -> None:
            for sample in range(1000, 1042, 7):
                run.revoke([sample], strategy="sisa")

        thread = Thread(target=revoke)
        thread.start()
        places = list[tuple[Path, Any]]()
        while thread.is_alive() and len(places) < 6:
            with raymu.open_run(folder / "run") as other:
                places.append((folder / f"backup-{len(places)}", other.backup(folder / f"backup-{len(places)}")))
        thread.join()
    for place, made in places:
        with raymu.restore(place, folder / f"of-{place.name}", accept_rollback=True) as restored:
            assert restored.generation == made.generation
            assert restored.verify().verdict is not Verdict.FAIL
            restored.settle()
            assert restored.verify(replay=None).verdict is Verdict.PASS
            states[made.sequence] = restored.predict(FEATURES).tobytes()
    assert states


def test_a_backup_begins_again_if_files_are_purged_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with train(folder) as run:
        history, calls = backup_module._history, list[raymu.Receipt]()

        def purged_meanwhile(store: RunStore, copy: Path) -> Any:
            if not calls:
                calls.append(run.revoke([1000], strategy="sisa"))
            return history(store, copy)

        monkeypatch.setattr(backup_module, "_history", purged_meanwhile)
        made = run.backup(folder / "backup")
        assert made.generation == run.generation
    with raymu.restore(folder / "backup", folder / "elsewhere") as restored:
        assert restored.verify().verdict is Verdict.PASS


def test_a_restored_run_revokes_again_what_the_registry_has(folder: Path) -> None:
    with train(folder, registry={"url": f"sqlite:///{folder / 'registry.sqlite'}"}) as run:
        run.backup(folder / "backup")
        run.revoke([1000], strategy="sisa")
    shutil.rmtree(folder / "run")
    with pytest.raises(RunRolledBack):
        raymu.restore(folder / "backup", folder / "run")
    shutil.rmtree(folder / "run")
    with raymu.restore(folder / "backup", folder / "run", accept_rollback=True) as restored:
        assert len(restored.receipts()) == 1
        assert restored.verify(replay=None).verdict is Verdict.PASS


@pytest.mark.parametrize("is_restored_into", [False, True], ids=["stays", "moves into a database"])
def test_a_journal_in_a_database_is_backed_up(folder: Path, is_restored_into: bool) -> None:
    database = f"sqlite:///{folder / 'shared.sqlite'}"
    with train(folder, cluster={"journal": database}) as run:
        run.revoke([1000], strategy="sisa")
        run.backup(folder / "backup")
    if not is_restored_into:
        with pytest.raises(RunInvalid, match=r"has run \w+ already; name another database with --journal"):
            raymu.restore(folder / "backup", folder / "elsewhere")
        return
    other = f"sqlite:///{folder / 'other.sqlite'}"
    with raymu.restore(folder / "backup", folder / "elsewhere", journal=other) as restored:
        assert restored.verify().verdict is Verdict.PASS
        restored.revoke([1007], strategy="sisa")
        assert len(restored.receipts()) == 2


def test_a_place_that_is_not_a_backup_of_the_run_is_refused(folder: Path) -> None:
    with train(folder) as run:
        (folder / "other").mkdir()
        (folder / "other" / "letter.txt").write_text("mine")
        with pytest.raises(RequestInvalid, match="is not empty and no backup"):
            run.backup(folder / "other")
        with pytest.raises(RequestInvalid, match="is within the run"):
            run.backup(folder / "run" / "backup")
        run.backup(folder / "backup")
        with pytest.raises(RunInvalid, match="holds a run already"):
            raymu.restore(folder / "backup", folder / "run")
    with pytest.raises(RequestInvalid, match="is no backup"):
        raymu.restore(folder / "other", folder / "new")
    assert not (folder / "new").exists()


def test_a_changed_file_of_a_backup_is_noticed(folder: Path) -> None:
    with train(folder) as run:
        run.backup(folder / "backup")
    record = json.loads((folder / "backup" / "backup.json").read_text())
    [file] = [each["sha256"] for each in record["files"] if each["path"].startswith("samples/0000-pyarrow")]
    changed = folder / "backup" / "files" / file
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    with pytest.raises(FileCorrupt):
        raymu.restore(folder / "backup", folder / "elsewhere")
    with raymu.open_run(folder / "run") as run:
        run.backup(folder / "backup", check=True)
    with raymu.restore(folder / "backup", folder / "elsewhere") as restored:
        assert restored.verify().verdict is Verdict.PASS


@pytest.mark.parametrize("files", ["[1]", "[null]", "[{}]", '[{"path": "hash.key"}]', "{}", "[]"])
def test_a_record_that_is_not_as_it_was_written_is_refused(folder: Path, files: str) -> None:
    (folder / "backup").mkdir()
    record = '{"kind": "raymu backup", "format": 1, "run_id": "0", "files": ' + files + "}"
    (folder / "backup" / "backup.json").write_text(record)
    code, line = run_command(["restore", str(folder / "backup"), str(folder / "new")])
    assert (code, "not what was written" in line or "no key" in line, "\n" in line) == (2, True, False), line
    assert not (folder / "new").exists()


def test_hidden_files_in_the_place_are_somebodys(folder: Path) -> None:
    (folder / "place" / ".git").mkdir(parents=True)
    (folder / "place" / ".git" / "HEAD").write_text("mine")
    with train(folder) as run, pytest.raises(RequestInvalid, match="is not empty and no backup"):
        run.backup(folder / "place")
    assert (folder / "place" / ".git" / "HEAD").read_text() == "mine"


def test_an_interrupted_restoration_into_a_database_can_be_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{folder / 'shared.sqlite'}"
    with train(folder) as run:
        run.revoke([1000], strategy="sisa")
        run.backup(folder / "backup")
    with monkeypatch.context() as patched:
        patched.setattr(Fencing, "restore", interrupt)
        with pytest.raises(KeyboardInterrupt):
            raymu.restore(folder / "backup", folder / "new", journal=database)
    with pytest.raises(RunInvalid, match="already; name another database"):
        raymu.restore(folder / "backup", folder / "other", journal=database)
    assert not (folder / "other").exists()
    with raymu.restore(folder / "backup", folder / "new", journal=database) as restored:
        assert restored.verify().verdict is Verdict.PASS
        restored.revoke([1007], strategy="sisa")
    shutil.rmtree(folder / "new")
    with pytest.raises(RunInvalid, match="already; name another database"):
        raymu.restore(folder / "backup", folder / "new", journal=database)


def interrupt(*_arguments: object, **_settings: object) -> None:
    raise KeyboardInterrupt


def test_an_older_backup_is_accepted_after_it_was_refused(folder: Path) -> None:
    with train(folder) as run:
        run.backup(folder / "backup")
        run.revoke([1000], strategy="sisa")
    shutil.rmtree(folder / "run")
    assert run_command(["restore", str(folder / "backup"), str(folder / "run")])[0] != 0
    assert run_command(["verify", str(folder / "run"), "--accept-rollback"])[0] == 0
    assert run_command(["status", str(folder / "run")])[0] == 0


def test_the_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with train(folder):
        pass
    assert run_command(["backup", str(folder / "run"), str(folder / "backup"), "--json"])[0] == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "raymu.backup"
    assert document["destroyed"] == 0
    assert run_command(["restore", str(folder / "backup"), str(folder / "elsewhere"), "--json"])[0] == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["schema"] == "raymu.restore"
    assert "restored generation 1" in printed.err
    assert run_command(["restore", str(folder / "backup"), str(folder / "elsewhere")])[0] == 2
