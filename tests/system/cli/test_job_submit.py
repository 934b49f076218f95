"""What `raymu job submit` refuses before it connects to a cluster."""

import sys

import pytest

from raymu.cli import main

SUBMIT = ["job", "submit", "--address", "127.0.0.1:9"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train", "run.yaml"], "its output would be in the working directory of the job"),
        (["train", "run.yaml", "runs/r"], "runs/r would be in the working directory of the job"),
        (["train", "run.yaml", "--run", "runs/r"], "runs/r would be in the working directory of the job"),
        (["revoke", "runs/r", "--id", "1"], "give an absolute path"),
        (["report", "/runs/r"], "its output would be"),
        (["predict", "/runs/r", "--data", "d.parquet", "--out", "p.csv"], "p.csv would be"),
        (["tune", "s3://bucket/r", "--traffic", "uniform:5"], "tune: its output would be"),
        (["job", "submit", "--address", "127.0.0.1:9", "--", "revoke", "/runs/r", "--id", "1"], "cannot submit a job"),
        (["receipts", "/runs/r", "--owner", "zoe"], "the value of --owner would be shown on Ray's dashboard"),
        (["receipts", "/runs/r", "--key", "DSR-7"], "the value of --idempotency-key would be shown"),
        (["revoke", "/runs/r", "--owner-file", "owner.txt"], "owner.txt would be copied to the disks of Ray's nodes"),
        (["revoke", "/runs/r", "--ids-file", "-"], "a job has no standard input; put ids into a file on storage"),
        (["train", "run.yaml", "/runs/r", "--exclude-owner-file", "-"], "a job has no standard input"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["status", "/runs/r", "--loudly"], "No such option"),
        (["--log", "json", "status", "runs/r"], "runs/r would be in the working directory of the job"),
        (["--log", "loud", "status", "/runs/r"], "Invalid value for '--log'"),
        (["--log", "json"], "Missing command"),
    ],
)
def test_a_command_whose_result_would_be_lost_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["raymu", *SUBMIT, "--", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert (stop.value.code, printed.out) == (2, "")
    assert complaint in printed.err
    assert printed.err.count("\n") == 1


def test_a_job_that_would_submit_a_job_by_its_old_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = ["submit", "--address", "127.0.0.1:9", "--", "revoke", "/runs/r", "--id", "1"]
    monkeypatch.setattr(sys, "argv", ["raymu", *SUBMIT, "--", *inner])
    with pytest.raises(SystemExit):
        main()
    assert "cannot submit a job" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["status", "/runs/r"],
        ["--log", "json", "status", "/runs/r"],
        ["train", "run.yaml", "--run", "s3://bucket/r"],
        ["train", "run.yaml", "s3://bucket/r?region=eu-west-1", "training.epochs=3"],
        ["simulate", "run.yaml", "--traffic", "uniform:5"],
        ["tune", "/runs/r", "--traffic", "uniform:5"],
        ["tune", "s3://bucket/r", "--traffic", "uniform:5", "--out", "/shared/r-tuning"],
    ],
)
def test_any_other_command_is_submitted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """A cluster's client gets it, which these tests cannot reach."""
    monkeypatch.setattr(sys, "argv", ["raymu", *SUBMIT, "--", *words])
    with pytest.raises(SystemExit):
        main()
    assert "jobs need ray[default]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["revoke", "/runs/r", "--id", "1"],
            "the value of --id would be shown on Ray's dashboard; put ids into a file",
        ),
        (["revoke", "/runs/r", "--owner", "Zoë"], "the value of --owner would be shown on Ray's dashboard"),
        (
            ["revoke", "/runs/r", "--ids-file", "/shared/ids.txt", "--idempotency-key", "k"],
            "the value of --idempotency-key would be shown",
        ),
        (["revoke", "/runs/r", "--ids-file", "ids.txt"], "ids.txt would be copied to the disks of Ray's nodes"),
    ],
)
def test_ids_on_the_command_line_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    test_a_command_whose_result_would_be_lost_is_refused(monkeypatch, capsys, words, complaint)
