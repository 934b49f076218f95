"""The metrics and logs of a run on a real Ray cluster."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from raymu.core.telemetry.metrics import METRICS, MetricKind
from raymu.store.run import RunStore
from tests.support.metrics_process import KEY

SECRETS = ("sample-", "owner-", KEY)


_LABELS = tuple(dict.fromkeys(label for metric in METRICS for label in (*metric.labels, "le")))


@dataclass(frozen=True)
class Measured:
    """The metrics and logs of a run, in a folder."""

    folder: Path

    def series(self, step: str) -> Mapping[tuple[str, ...], float]:
        """Return each value by (name, *values of raymu's own labels)."""
        values: dict[tuple[str, ...], float] = {}
        for line in self.text(step).splitlines():
            if line.startswith("ray_raymu_"):
                name, labels, value = re.fullmatch(r"(\w+){(.*)} (\S+)", line).groups()  # type: ignore[union-attr]
                tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                assert tags["run"] == self.run_id
                own = (tags[label] for label in _LABELS if label in tags)
                values[name.removeprefix("ray_raymu_"), *own] = float(value)
        return values

    def text(self, step: str) -> str:
        return (self.folder / step).read_text()

    @property
    def run_id(self) -> str:
        return RunStore(str(self.folder / "run")).manifest.run_id

    @property
    def log_lines(self) -> list[str]:
        """The lines in the logs of all Ray processes."""
        folder = Path((self.folder / "logs").read_text())
        return [
            line
            for path in folder.iterdir()
            if path.is_file()
            for line in path.read_text(errors="replace").splitlines()
        ]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.support.metrics_process", str(folder), str(port)]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert (process.returncode, process.stdout) == (0, ""), process.stderr
    return Measured(folder)


def test_prometheus_reads_the_names_and_kinds_of_raymus_metrics(measured: Measured) -> None:
    text = measured.text("patched")
    kinds = dict(re.findall(r"# TYPE (ray_raymu_\w+) (\w+)", text))
    for metric in METRICS:
        [first, *_] = metric.series
        name = first.removesuffix("_bucket") if metric.kind is MetricKind.HISTOGRAM else first
        if metric.name != "raymu_accuracy":  # which is not measured
            assert kinds[name] == metric.kind
            assert f"# HELP {name} {metric.help}" in text
    exported = {name for name, *_ in measured.series("patched")}
    assert {f"ray_raymu_{name}" for name in exported} <= {series for metric in METRICS for series in metric.series}


def test_requests_remedies_passes_debt_and_slack_are_measured(measured: Measured) -> None:
    series = measured.series("patched")
    assert (series["requests", "settled"], series["requests", "purged"], series["requests", "accepted"]) == (
        1.0,
        1.0,
        0.0,
    )
    patched = series["repairs_total", "patch"]
    assert patched >= 1.0
    assert series["repairs_total", "retrain"] >= 1.0
    assert series["shards", "approximate"] == series["debt_shards",] == patched
    assert series["debt_passes",] > 0.0
    assert series["passes_total", "train"] == pytest.approx(240 * 4, rel=0.5)
    assert series["compute_seconds_total", "train"] > 0.0
    assert series["seconds_per_pass_count", "train"] == 9.0, "three shards of three stages"
    assert series["repair_seconds_count", "patch"] == patched
    assert series["request_seconds_count", "rewound"] == 2.0
    assert series["request_seconds_count", "settled"] == 1.0
    assert sum(name == "shard_seconds_per_pass" for name, *_ in series) == 3
    month_s = 30 * 24 * 3600.0
    assert month_s - 300.0 < series["deadline_slack_seconds",] < month_s
    assert series["settle_by_timestamp_seconds",] < series["next_due_timestamp_seconds",]


def test_counters_begin_at_0_before_anything_happens(measured: Measured) -> None:
    series = measured.series("patched")
    assert series["repair_failures_total",] == 0.0
    assert series["repairs_total", "patch_and_fine_tune"] == 0.0
    assert series["accepted_requests_total", "sisa"] == series["accepted_requests_total", "dpus"] == 1.0
    assert series["verdicts_total", "verify", "fail"] == series["verdicts_total", "audit", "pass"] == 0.0
    assert series["run", "run"] == 1.0, "the name of the run's directory"


def test_gauges_stay_while_nothing_happens_and_slack_shrinks(measured: Measured) -> None:
    before, after = measured.series("patched"), measured.series("idle")
    passing = ("deadline_slack_seconds",)
    assert {name: value for name, value in before.items() if name != passing} == {
        name: value for name, value in after.items() if name != passing
    }
    passed_s = (measured.folder / "idle").stat().st_mtime - (measured.folder / "patched").stat().st_mtime
    assert 4.0 < before[passing] - after[passing] < passed_s + 30.0


def test_settling_removes_the_debt(measured: Measured) -> None:
    series = measured.series("settled")
    assert series["debt_shards",] == series["debt_passes",] == series["next_due_timestamp_seconds",] == 0.0
    assert (series["requests", "settled"], series["shards", "exact"]) == (2.0, 3.0)
    assert ("deadline_slack_seconds",) not in series


def test_no_measurement_and_no_log_of_any_process_names_a_subject(measured: Measured) -> None:
    for step in ("patched", "idle", "settled"):
        assert not [secret for secret in SECRETS if secret in measured.text(step)]
    lines = measured.log_lines
    assert len(lines) > 100
    assert not [line for line in lines if any(secret in line for secret in SECRETS)]


def test_actors_log_json_into_rays_logs(measured: Measured) -> None:
    records = [json.loads(line) for line in measured.log_lines if line.startswith('{"time": ')]
    assert {record["run"] for record in records} == {measured.run_id}
    of_workers = {"work_begun", "stage_trained", "work_done"}
    assert of_workers < {record["event"] for record in records}
    assert {"opened", "trained", "accepted", "repaired", "published", "purged", "closed"} <= {
        record["event"] for record in records
    }
    stages = [
        (record["shard"], record["stage"])
        for record in records
        if record["event"] == "stage_trained" and record["remedy"] == "train"
    ]
    assert sorted(stages) == [(shard, stage) for shard in range(3) for stage in range(3)]
