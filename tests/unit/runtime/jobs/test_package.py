import json
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.errors import RequestInvalid
from raymu.runtime.jobs import package as parcel
from raymu.runtime.jobs.package import CommandResult, JobCommand, JobLog, begin_line, outcome_line, pack
from raymu.store.layout import MANIFEST, UNFINISHED

TICKET = JobCommand.issue(["status", "r"])
DONE = CommandResult(code=0, output="", complaint="")
PREFACE = "Running entrypoint for job raymu-77: exec python3\nRuntime env is setting up.\n"


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def nothing(_: Path) -> bool:
    """Is excluded."""
    return False


def packed(folder: Path, is_excluded: Callable[[Path], bool] = nothing) -> list[str]:
    """returns: what goes along of a folder"""
    package = folder.with_suffix(".zip")
    pack(package, folder, is_excluded=is_excluded)
    return sorted(zipfile.ZipFile(package).namelist())


def test_runs_and_hidden_files_stay_where_they_are(tmp_path: Path) -> None:
    fill(
        tmp_path / "source",
        *("run.yaml", "data/train.csv", ".env", ".git/config"),
        *("runs/letter/samples/0", f"runs/letter/{MANIFEST}", "runs/notes.txt"),
    )
    assert packed(tmp_path / "source") == ["data/train.csv", "run.yaml", "runs/notes.txt"]


def test_what_a_killed_creation_left_stays_too(tmp_path: Path) -> None:
    fill(tmp_path / "source", "run.yaml", f"runs/letter/{UNFINISHED}", "runs/letter/hash.key", "runs/letter/samples/0")
    assert packed(tmp_path / "source") == ["run.yaml"]


@pytest.mark.parametrize("mark", [MANIFEST, UNFINISHED])
@pytest.mark.parametrize("folder", ["", "samples", "shards/0000"])
def test_a_run_is_no_folder_to_send_along_nor_is_one_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, folder: str
) -> None:
    run = tmp_path / "run"
    fill(run, mark, "hash.key", "signing.key", "samples/0", "shards/0000/0")
    monkeypatch.chdir(run / folder)
    with pytest.raises(RequestInvalid, match=r"is a run, .*; name another --working-dir") as refusal:
        pack(tmp_path / "job.zip", Path(), is_excluded=nothing)
    assert str(run) in str(refusal.value)
    assert not (tmp_path / "job.zip").exists()


def test_what_is_excluded_stays_too_and_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "source", "run.yaml", "data/a", "data/b/c", "notes.txt")
    monkeypatch.setattr(parcel, "LARGEST_BYTES", len("run.yaml"))
    assert packed(tmp_path / "source", lambda path: path.name in ("data", "notes.txt")) == ["run.yaml"]


def test_a_ticket_arrives_as_it_was_issued_and_no_two_are_alike() -> None:
    ticket = JobCommand.issue(["revoke", "runs/r", "--id", "Zoë"])
    assert JobCommand.parse(ticket.dump()) == ticket
    other = JobCommand.issue(ticket.command)
    assert (other.mark != ticket.mark, other.key != ticket.key) == (True, True)


def test_a_folder_that_is_too_large_or_absent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "source", "a", "b")
    monkeypatch.setattr(parcel, "LARGEST_BYTES", 1)
    with pytest.raises(RequestInvalid, match="name a smaller --working-dir"):
        packed(tmp_path / "source")
    with pytest.raises(RequestInvalid, match="is no directory"):
        packed(tmp_path / "absent")


@given(
    output=st.text(),
    said=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_the_output_comes_out_as_it_went_in_wherever_the_log_is_cut(
    output: str, said: list[str], cuts: list[int]
) -> None:
    own = "".join(f"{line}\n" for line in said)
    outcome = CommandResult(code=3, output=output, complaint="")
    text = PREFACE + begin_line(TICKET) + own + outcome_line(TICKET, outcome) + "Ray says goodbye.\n"
    log, shown, places = JobLog(TICKET), "", sorted({0, *cuts, len(text)})
    for start, end in pairwise(places):
        shown += log.feed(text[start:end])
    assert log.outcome == outcome
    assert shown + log.end() == own + "Ray says goodbye.\n"


def test_a_line_that_was_not_ended_is_shown_too() -> None:
    log = JobLog(TICKET)
    shown = log.feed(begin_line(TICKET) + "50%" + outcome_line(TICKET, DONE))
    assert (shown, log.outcome) == ("50%\n", DONE)


def test_where_the_command_never_began_all_is_shown_that_ray_says() -> None:
    log = JobLog(TICKET)
    assert log.feed(PREFACE + "sh: 1: exec: python3: not found") == ""
    assert (log.end(), log.has_begun, log.outcome) == (PREFACE + "sh: 1: exec: python3: not found", False, None)


def test_an_outcome_is_one_line_that_tells_nothing_to_others() -> None:
    outcome = CommandResult(
        code=2, output=json.dumps({"name": "Zoë"}) + "\n", complaint="raymu: 1 unknown sample id (Zoë)"
    )
    line = outcome_line(TICKET, outcome)
    assert line.isascii()
    assert line.count("\n") == 1
    assert "name" not in line
    assert "unknown" not in line
