"""Each finding of a verification names what mends it, and that does."""

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from raymu.api import Run, open_run
from raymu.cli import run_command
from raymu.core.findings import WAYS_OUT, FindingKind
from raymu.core.verdict import Finding, Verdict
from raymu.errors import ShardRepairFailed
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import RepairTask
from raymu.store.presence import Presence
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, lineage_of, opened
from tests.support.examples import create_run, make_config, write_samples
from tests.support.other_device import on
from tests.support.scripted_fleet import ScriptedFleet
from tests.system.verify.forgery import execute

Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, which forgot a sample, and `before`, the same run before that."""
    folder = tmp_path_factory.mktemp("ways")
    write_samples(folder / "all.parquet", samples=80)
    create_run(make_config(folder / "all.parquet"), folder / "before")
    shutil.copytree(folder / "before", folder / "run")
    revoke(folder / "run", "sisa", shard=0)
    return folder


@pytest.fixture
def location(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYMU_ANCHORS", str(tmp_path / "anchors"))
    shutil.copytree(folder / "before", tmp_path / "before")
    shutil.copy(folder / "all.parquet", tmp_path)
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


def revoke(location: Path, strategy: str, *, shard: int = 1, fleet: ScriptedFleet | None = None) -> None:
    config = RunStore(str(location)).config
    with opened(location, fleet) as run:
        run.revoke(ids_at(config, shard=shard, slice_index=1)[:1], strategy=strategy)


def an_interrupted_takeover(location: Path) -> None:
    (location / "epoch").write_text(str(RunStore(str(location)).fencing.term() + 1))


def an_open_journal(location: Path) -> None:
    journal, _ = RunStore(str(location)).take_over()
    journal.close()


def an_interrupted_training(location: Path) -> None:
    config = RunStore(str(location)).config
    shutil.rmtree(location)
    prepare_run(config, str(location)).write()


def files_of_before(location: Path) -> None:
    """Put back all files but the journal and its seal: the journal is newer than they are."""
    for folder in ("shards", "samples", "generations"):
        shutil.rmtree(location / folder)
        shutil.copytree(location.with_name("before") / folder, location / folder)


def a_failed_repair(location: Path) -> None:
    with suppress(ShardRepairFailed):
        revoke(location, "sisa", fleet=ScriptedFleet(RunStore(str(location)), fail_after=1))


def a_failed_repair_of_a_kept_state(location: Path) -> None:
    with open_run(location) as run:
        run.configure(on_accept="keep")
    a_failed_repair(location)


def a_changed_report(location: Path) -> None:
    def stop(_task: RepairTask) -> None:
        raise asyncio.CancelledError

    with suppress(asyncio.CancelledError):
        revoke(location, "sisa", fleet=ScriptedFleet(RunStore(str(location)), after=stop))
    [report] = (location / "reports").glob("*[0-9a-f].json")
    report.write_bytes(report.read_bytes()[:-9])


def a_repair_in_another_class(location: Path) -> None:
    with on("A100"):
        revoke(location, "sisa", shard=1)


def cut(pattern: str, location: Path) -> None:
    file = sorted(location.glob(pattern))[0]
    file.write_bytes(file.read_bytes()[:-9])


def put_back(pattern: str, location: Path, *, name: str | None = None) -> None:
    """Put a file of the run before back, under its name or another."""
    before = location.with_name("before")
    file = next(file for file in sorted(before.glob(pattern)) if not (location / file.relative_to(before)).exists())
    shutil.copy(file, location / (name or file.relative_to(before)))


def a_lost_table(location: Path) -> None:
    (location / lineage_of(location, 0).table.path).unlink()


def an_older_copy(location: Path) -> None:
    open_run(location).status()
    shutil.rmtree(location)
    shutil.copytree(location.with_name("before"), location)


def an_older_copy_elsewhere(location: Path) -> None:
    newer = location.with_name("newer")
    shutil.copytree(location, newer)
    open_run(newer).status()
    shutil.rmtree(location)
    shutil.copytree(location.with_name("before"), location)


def a_coordinator_that_ended(location: Path) -> None:
    RunStore(str(location)).presence.announce(replace(Presence.of_this_process(), started="long ago"))


MENDED_BY_A_COMMAND: Mapping[FindingKind, tuple[Break, ...]] = {
    FindingKind.TAKEOVER: (an_interrupted_takeover,),
    FindingKind.OPEN_JOURNAL: (an_open_journal,),
    FindingKind.UNTRAINED: (an_interrupted_training,),
    FindingKind.OLD_FILES: (files_of_before, lambda location: next((location / "generations").iterdir()).unlink()),
    FindingKind.GENERATION: (partial(cut, "generations/*"),),
    FindingKind.OTHER_GENERATION: (
        partial(put_back, "generations/*"),
        partial(put_back, "generations/*", name="generations/00000099.json"),
        lambda location: (location / "generations" / "00000001.json").write_text("{}"),
    ),
    FindingKind.FILE: (partial(cut, "shards/0000/*"), partial(cut, "samples/0001*"), a_lost_table),
    FindingKind.REPORT: (a_changed_report,),
    FindingKind.WAITING: (a_failed_repair_of_a_kept_state,),
    FindingKind.PATCHED: (partial(revoke, strategy="dpus"),),
    FindingKind.OTHER_CLASSES: (a_repair_in_another_class,),
    FindingKind.UNFINISHED: (a_failed_repair,),
    FindingKind.PURGED_FILE: (
        partial(put_back, "shards/0000/*"),
        partial(put_back, "samples/0000*"),
        partial(put_back, "shards/0000/*", name="reports/train-0000.json"),
    ),
    FindingKind.NEEDLESS: (
        lambda location: (location / "shards" / "0000" / "stage-1-0123456789abcdef.safetensors").write_text("x"),
        lambda location: (location / "unfinished").write_text(""),
        lambda location: (location / "coordinator.json").write_text('{"host": "1007"}'),
        a_coordinator_that_ended,
        lambda location: (location / ".epoch.0123.partial").write_text(""),
        lambda location: (location / "reports" / "train-0000.json").write_text("{}"),
    ),
    FindingKind.ROLLED_BACK: (an_older_copy,),
    FindingKind.OLDER_COPY: (an_older_copy_elsewhere,),
}

MENDED_BY_HAND: Mapping[FindingKind, tuple[Break, Break]] = {
    FindingKind.LINK: (
        lambda location: (location / "shards" / "up").symlink_to(location),
        lambda location: (location / "shards" / "up").unlink(),
    ),
    FindingKind.FOREIGN_FILE: (
        lambda location: (location / "notes.txt").write_text("mine"),
        lambda location: (location / "notes.txt").unlink(),
    ),
    FindingKind.FOREIGN_PURGED_FILE: (
        partial(put_back, "shards/0000/*", name="notes.txt"),
        lambda location: (location / "notes.txt").unlink(),
    ),
}
LOST_KEY: Break = lambda location: (location / "signing.key").unlink()  # noqa: E731
MENDED_BY_A_BACKUP: Mapping[FindingKind, tuple[Break, ...]] = {
    FindingKind.MANIFEST: (partial(cut, "run.json"), partial(cut, "hash.key")),
    FindingKind.JOURNAL: (
        partial(cut, "journal.sqlite"),
        lambda location: execute(location, "UPDATE runs SET epoch = epoch + 7"),
        lambda location: execute(location, "UPDATE events SET kind = 'failed' WHERE sequence = 1"),
        lambda location: execute(location, "DELETE FROM revoked"),
        lambda location: execute(location, "CREATE TABLE notes (id INTEGER)"),
    ),
    FindingKind.RECEIPTS: (
        lambda location: execute(location, "DELETE FROM ledger"),
        LOST_KEY,
        partial(cut, "signing.pub"),
    ),
}
TESTED_ELSEWHERE = {
    FindingKind.FORGED_GENERATION,  # test_forgeries.py
    FindingKind.SNAPSHOT,  # tests/system/coordinator/test_snapshots.py
    FindingKind.LINEAGE,
    FindingKind.KEPT_STATE,
    FindingKind.NEEDED_PURGED_FILE,
    FindingKind.REPLAY,
    FindingKind.PATCHED_REPLAY,  # below
    FindingKind.INEXACT,  # tests/system/training
    FindingKind.BASE_WEIGHTS,  # tests/system/training/test_parts_of_models.py
    FindingKind.OTHER_CLASS_HERE,  # test_other_devices.py
    FindingKind.UNTRAINED_FILE,  # below
    FindingKind.VERSIONS,  # test_object_store.py
    FindingKind.WRITTEN_MEANWHILE,  # test_unread.py
    FindingKind.UNREAD,
}


def found_in(location: Path, *, is_replayed: bool = False) -> dict[FindingKind, Finding]:
    verification = Run(location).verify(replay=None if is_replayed else ())
    return {finding.kind: finding for check in verification.checks for finding in check.findings}


def commands(findings: Mapping[FindingKind, Finding], location: Path) -> Iterator[list[str]]:
    """Yield the command lines that the findings name, each once: the last one of a finding that names several."""
    named = [re.findall(r"`raymu (\w+)((?: --[\w-]+)?)`", finding.what)[-1:] for finding in findings.values()]
    for word, option in dict.fromkeys(command for matches in named for command in matches):
        data = ["--training-data", str(location.with_name("all.parquet"))] if word == "rebuild" else []
        yield [word, str(location), *option.split(), *data]


def cases(table: Mapping[FindingKind, tuple[Break, ...]]) -> list[object]:
    return [
        pytest.param(kind, harm, id=f"{kind} {number}")
        for kind, breaks in table.items()
        for number, harm in enumerate(breaks)
    ]


def test_every_kind_of_finding_has_a_way_out_and_a_test() -> None:
    assert WAYS_OUT.keys() == set(FindingKind)
    tested = [*MENDED_BY_A_COMMAND, *MENDED_BY_HAND, *MENDED_BY_A_BACKUP, *TESTED_ELSEWHERE]
    assert sorted(tested) == sorted(FindingKind)


@pytest.mark.parametrize(("kind", "harm"), cases(MENDED_BY_A_COMMAND))
def test_the_command_that_a_finding_names_mends_it(
    location: Path, kind: FindingKind, harm: Break, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(location)
    findings = found_in(location)
    assert kind in findings, findings
    for command in commands(findings, location):
        assert run_command(command)[0] == 0, (command, capsys.readouterr())
    assert open_run(location).verify(replay=None).verdict is Verdict.PASS, found_in(location)
    capsys.readouterr()


@pytest.mark.parametrize("kind", MENDED_BY_HAND)
def test_what_a_person_has_to_mend_is_named(location: Path, kind: FindingKind) -> None:
    harm, mend = MENDED_BY_HAND[kind]
    harm(location)
    assert "remove it" in found_in(location)[kind].what
    mend(location)
    assert not found_in(location)


@pytest.mark.parametrize(("kind", "harm"), cases(MENDED_BY_A_BACKUP))
def test_what_nothing_mends_says_so(location: Path, kind: FindingKind, harm: Break) -> None:
    harm(location)
    findings = found_in(location)
    assert "no command mends this; restore the whole run from a backup" in findings[kind].what
    assert run_command(["settle", str(location)])[0] == (0 if harm is LOST_KEY else 2)  # nothing is to be signed
    assert kind in found_in(location)


def test_a_patched_stage_is_replayed_once_it_is_settled(location: Path) -> None:
    revoke(location, "dpus")
    assert "`raymu settle` retrains it" in found_in(location, is_replayed=True)[FindingKind.PATCHED_REPLAY].what


def test_a_run_that_lost_samples_before_it_was_trained_is_trained_anew(location: Path) -> None:
    an_interrupted_training(location)
    cut("samples/0001-pyarrow*", location)
    assert "train anew, into another directory" in found_in(location)[FindingKind.UNTRAINED_FILE].what
    with closing(RunStore(str(location)).journal()):
        assert run_command(["settle", str(location)])[0] != 0
