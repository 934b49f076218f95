"""The metrics of a service follow the journals of its runs, whoever changes a run."""

import re
import time
from pathlib import Path

import pytest

from raymu.api import Run
from tests.support.examples import make_config, train_run, write_samples
from tests.system.web.conftest import Service, opened_service


def series(service: Service) -> dict[str, float]:
    """Return the value of each series, without the label of the run."""
    lines = service.client.get("/metrics").text.splitlines()
    split = (line.rpartition(" ") for line in lines if line.startswith("raymu_"))
    return {re.sub(r',?run="[^"]*",?', "", name).replace("{}", ""): float(value) for name, _, value in split}


ACCEPTED, PASSES = 'raymu_accepted_requests_total{strategy="dpus"}', 'raymu_passes_total{remedy="patch"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_samples(tmp_path / "all.parquet", samples=100)
    train_run(make_config(tmp_path / "all.parquet", training={"epochs": 2}, partition={"slices": 2}), tmp_path / "run")
    return tmp_path


def test_what_another_command_does_is_counted_and_ended_series_are_left_out(folder: Path) -> None:
    with opened_service(folder, "run") as service, Run(folder / "run", trust=True) as other:
        before = series(service)
        assert (before[ACCEPTED], before[PASSES]) == (0, 0)
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


def test_a_run_that_cannot_be_read_is_not_ready(folder: Path) -> None:
    with opened_service(folder, "run") as service:
        until = time.monotonic() + 30
        while series(service)["raymu_ready"] != 1:
            assert time.monotonic() < until
            time.sleep(0.1)
        journal = folder / "run" / "journal.sqlite"
        journal.rename(folder / "away")
        assert series(service)["raymu_ready"] == 0
        (folder / "away").rename(journal)
        assert series(service)["raymu_ready"] == 1
