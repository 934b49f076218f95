import json
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.errors import RequestInvalid
from raymu.runtime import parcel
from raymu.runtime.parcel import JobLog, Outcome, begin_line, outcome_line, pack, take_ticket
from raymu.store.layout import MANIFEST

MARK = "raymu-0123"
PREFACE = "Running entrypoint for job raymu-77: exec python3\nRuntime env is setting up.\n"


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def test_a_job_finds_the_folder_and_its_command(tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "there"
    fill(source, "run.yaml", "data/train.csv", "models/wide.py")
    ticket = pack(tmp_path / "job.zip", source, ["revoke", "runs/r", "--id", "Zoë"])
    zipfile.ZipFile(tmp_path / "job.zip").extractall(there)
    assert (there / "data" / "train.csv").read_text() == "data/train.csv"
    assert take_ticket(there) == ticket
    assert ticket.command == ("revoke", "runs/r", "--id", "Zoë")
    assert sorted(one.name for one in there.iterdir()) == ["data", "models", "run.yaml"]


def test_runs_and_hidden_files_stay_where_they_are(tmp_path: Path) -> None:
    source = tmp_path / "source"
    fill(
        source, "run.yaml", ".env", ".git/config", "runs/letter/samples/0", f"runs/letter/{MANIFEST}", "runs/notes.txt"
    )
    pack(tmp_path / "job.zip", source, ["status"])
    assert sorted(zipfile.ZipFile(tmp_path / "job.zip").namelist()) == [parcel.TICKET, "run.yaml", "runs/notes.txt"]


def test_two_jobs_are_never_taken_for_one(tmp_path: Path) -> None:
    """Ray keeps what it has unpacked by its content, and the ticket of an earlier one is gone from there."""
    fill(tmp_path / "source", "run.yaml")
    for name in ("a.zip", "b.zip"):
        pack(tmp_path / name, tmp_path / "source", ["status"])
    assert (tmp_path / "a.zip").read_bytes() != (tmp_path / "b.zip").read_bytes()


def test_a_folder_that_is_too_large_or_absent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "source", "a", "b")
    monkeypatch.setattr(parcel, "LARGEST_BYTES", 1)
    with pytest.raises(RequestInvalid, match="name a smaller --working-dir"):
        pack(tmp_path / "job.zip", tmp_path / "source", ["status"])
    with pytest.raises(RequestInvalid, match="is no directory"):
        pack(tmp_path / "job.zip", tmp_path / "absent", ["status"])


@given(
    output=st.text(),
    said=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_the_output_comes_out_as_it_went_in_wherever_the_log_is_cut(
    output: str, said: list[str], cuts: list[int]
) -> None:
    own = "".join(f"{line}\n" for line in said)
    outcome = Outcome(code=3, output=output)
    text = PREFACE + begin_line(MARK) + own + outcome_line(MARK, outcome) + "Ray says goodbye.\n"
    log, shown, places = JobLog(MARK), "", sorted({0, *cuts, len(text)})
    for start, end in pairwise(places):
        shown += log.feed(text[start:end])
    assert log.outcome == outcome
    assert shown + log.end() == own + "Ray says goodbye.\n"


def test_a_line_that_was_not_ended_is_shown_too() -> None:
    log = JobLog(MARK)
    shown = log.feed(begin_line(MARK) + "50%" + outcome_line(MARK, Outcome(code=0, output="")))
    assert (shown, log.outcome) == ("50%\n", Outcome(code=0, output=""))


def test_where_the_command_never_began_all_is_shown_that_ray_says() -> None:
    log = JobLog(MARK)
    assert log.feed(PREFACE + "sh: 1: exec: python3: not found") == ""
    assert (log.end(), log.has_begun, log.outcome) == (PREFACE + "sh: 1: exec: python3: not found", False, None)


def test_an_outcome_is_one_line_of_ascii() -> None:
    line = outcome_line(MARK, Outcome(code=0, output=json.dumps({"name": "Zoë"}, ensure_ascii=False) + "\n"))
    assert line.isascii()
    assert line.count("\n") == 1
