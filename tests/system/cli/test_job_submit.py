"""What `raymu submit` refuses before it asks a cluster."""

import sys

import pytest

from raymu.cli import main

SUBMIT = ["submit", "--address", "127.0.0.1:9"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train", "run.yaml"], "what it writes would lie in the job's folder"),
        (["train", "run.yaml", "--run", "runs/r"], "runs/r would lie in the job's folder"),
        (["revoke", "runs/r", "--id", "1"], "give a whole path"),
        (["report", "/runs/r"], "what it writes would lie"),
        (["predict", "/runs/r", "--data", "d.parquet", "--out", "p.csv"], "p.csv would lie"),
        (["tune", "s3://bucket/r", "--traffic", "uniform:5"], "tune: what it writes would lie"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["status", "/runs/r", "--loudly"], "No such option"),
        (["--log", "json", "status", "runs/r"], "runs/r would lie in the job's folder"),
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


@pytest.mark.parametrize(
    "words",
    [
        ["status", "/runs/r"],
        ["--log", "json", "status", "/runs/r"],
        ["train", "run.yaml", "--run", "s3://bucket/r"],
        ["plan", "run.yaml", "--traffic", "uniform:5"],
        ["tune", "/runs/r", "--traffic", "uniform:5"],
        ["tune", "s3://bucket/r", "--traffic", "uniform:5", "--out", "/shared/r-tuning"],
    ],
)
def test_any_other_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """To a cluster's client, which these tests cannot reach."""
    monkeypatch.setattr(sys, "argv", ["raymu", *SUBMIT, "--", *words])
    with pytest.raises(SystemExit):
        main()
    assert "jobs need ray[default]" in capsys.readouterr().err
