"""The metrics of a service follow the journals of its runs, whoever changes a run."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from raymu.api import Run
from raymu.cli.group import cli
from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import Service, opened_service


def series(service: Service) -> dict[str, float]:
    """Return the value of each series, without the label of the run."""
    lines = service.client.get("/metrics").text.splitlines()
    split = (line.rpartition(" ") for line in lines if line.startswith("raymu_"))
    without_run = ((re.sub(r'run="[^"]*",?', "", name).replace(",}", "}"), value) for name, _, value in split)
    return {name.replace("{}", ""): float(value) for name, value in without_run}


def wait_until_ready(service: Service) -> None:
    until = time.monotonic() + 30
    while series(service)["raymu_ready"] != 1:
        assert time.monotonic() < until
        time.sleep(0.1)


ACCEPTED, PASSES = 'raymu_accepted_requests_total{strategy="dpus"}', 'raymu_passes_total{remedy="patch"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_samples(tmp_path / "all.parquet", samples=100)
    config = make_config(tmp_path / "all.parquet", training={"epochs": 2}, partition={"slices": 2})
    create_run(config, tmp_path / "run")
    return tmp_path


def test_what_another_command_does_is_counted_and_ended_series_are_left_out(folder: Path) -> None:
    with opened_service(folder, "run") as service, Run(folder / "run", trust=True) as other:
        before = series(service)
        assert (before[ACCEPTED], before[PASSES]) == (0, 0)
        assert before['raymu_request_seconds_count{state="settled"}'] == 0
        assert "raymu_deadline_slack_seconds" not in before
        other.revoke([1007], strategy="dpus")
        owing = series(service)
        assert owing[ACCEPTED] == 1
        assert owing[PASSES] > 0
        assert owing["raymu_deadline_slack_seconds"] > 0
        other.settle()
        after = series(service)
        assert after[ACCEPTED] == 1
        assert "raymu_deadline_slack_seconds" not in after
        again = series(service)
        assert {name: after[name] for name in after if name.endswith("_total")} == {
            name: again[name] for name in again if name.endswith("_total")
        }


def test_promtool_finds_no_fault_with_names_and_help(folder: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool of Prometheus is not installed")
    with opened_service(folder, "run") as service:
        text = service.client.get("/metrics").text
    ended = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_run_that_cannot_be_read_is_not_ready(folder: Path) -> None:
    with opened_service(folder, "run") as service:
        wait_until_ready(service)
        journal = folder / "run" / "journal.sqlite"
        journal.rename(folder / "away")
        assert series(service)["raymu_ready"] == 0
        (folder / "away").rename(journal)
        assert series(service)["raymu_ready"] == 1


def test_what_verify_and_audit_end_with_is_shown_and_counted(folder: Path) -> None:
    runner, location = CliRunner(), str(folder / "run")
    with opened_service(folder, "run") as service:
        wait_until_ready(service)
        before = series(service)
        assert before['raymu_last_verdict_timestamp_seconds{check="verify"}'] == 0
        assert before['raymu_verdicts_total{check="verify",verdict="pass"}'] == 0
        overview = service.client.get("/").text
        assert '<td><span class="none">none</span></td></tr>' in overview, "nobody has verified it"
        assert ">fail<" not in "".join(overview.split())
        began = time.time()
        assert runner.invoke(cli, ["verify", location, "--json"]).exit_code == 0
        after = series(service)
        assert after['raymu_last_verdict{check="verify",verdict="pass"}'] == 1
        assert after['raymu_last_verdict_generation{check="verify"}'] == 1
        assert began <= after['raymu_last_verdict_timestamp_seconds{check="verify"}'] <= time.time()
        assert after['raymu_verdicts_total{check="verify",verdict="pass"}'] == 1
        assert after['raymu_last_verdict_timestamp_seconds{check="audit"}'] == 0
        moved = next((folder / "run" / "samples").glob("0000-pyarrow*"))
        moved.rename(folder / "moved")
        assert runner.invoke(cli, ["verify", location, "--json"]).exit_code == 1
        failed = series(service)
        assert failed['raymu_last_verdict{check="verify",verdict="pass"}'] == 0
        assert failed['raymu_last_verdict{check="verify",verdict="fail"}'] == 1
        assert failed['raymu_verdicts_total{check="verify",verdict="fail"}'] == 1
        assert "Verification fails" in service.client.get("/runs/run").text
        overview = service.client.get("/").text
        assert '<span class="none">none</span></td></tr>' not in overview
        assert ">fail<" in "".join(overview.split())
        (folder / "moved").rename(moved)
    again = {
        'raymu_verdicts_total{check="verify",verdict="fail"}': 0,
        'raymu_last_verdict{check="verify",verdict="fail"}': 1,
    }
    with opened_service(folder, "run") as service:
        begun = series(service)
    assert again == {name: begun[name] for name in again}, "a verdict of before is shown, and not counted"
