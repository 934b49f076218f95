"""The alert rules: they have what Prometheus needs, and use only metrics and label values of raymu."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from raymu.core.receipt import RequestStage
from raymu.core.telemetry.metrics import METRICS, Metric
from raymu.core.verdict import CHECKS, Verdict

[GROUP] = yaml.safe_load(
    (Path(__file__).parents[3] / "cluster" / "prometheus" / "raymu-rules.yaml").read_text(encoding="utf-8")
)["groups"]
RULES: list[Mapping[str, Any]] = GROUP["rules"]
BY_SERIES: Mapping[str, Metric] = {series: metric for metric in METRICS for series in metric.series}
GAUGES_VALUES: Mapping[str, tuple[str, ...]] = {
    "state": tuple(RequestStage),
    "check": CHECKS,
    "verdict": tuple(Verdict),
}
EACH = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])


@EACH
def test_a_rule_has_the_fields_that_prometheus_needs(rule: Mapping[str, Any]) -> None:
    assert (
        {"alert", "expr", "labels", "annotations"} <= rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    )
    assert re.fullmatch(r"Raymu[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
    assert rule["expr"].count("(") == rule["expr"].count(")")


@EACH
def test_a_rule_uses_metrics_that_exist(rule: Mapping[str, Any]) -> None:
    series = re.findall(r"ray_raymu_\w+", rule["expr"])
    assert series
    assert set(series) <= BY_SERIES.keys()


@EACH
def test_a_rule_selects_by_labels_and_values_that_exist(rule: Mapping[str, Any]) -> None:
    for name, selectors in re.findall(r"(ray_raymu_\w+)\{([^}]*)\}", rule["expr"]):
        for label, _, values in re.findall(r'(\w+)(=~|=)"([^"]*)"', selectors):
            metric = BY_SERIES[name]
            assert label in metric.labels
            known = metric.values.get(label) or GAUGES_VALUES[label]
            assert set(values.split("|")) <= set(known)


def test_every_alert_has_a_name_of_its_own() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "raymu-rules.yaml", "raymu-serve-rules.yaml"],
        ["check", "config", "--syntax-only", "prometheus.yaml"],
        ["test", "rules", "raymu-rules-test.yaml", "raymu-serve-rules-test.yaml"],
    ],
)
def test_promtool_accepts_the_files(command: list[str]) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool of Prometheus is not installed")
    folder = Path(__file__).parents[3] / "cluster" / "prometheus"
    ended = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
