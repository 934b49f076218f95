"""The Grafana dashboard: it has what Grafana needs, and shows only metrics of raymu."""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from raymu.core.telemetry.metrics import METRICS, Metric, MetricKind

DASHBOARD: Mapping[str, Any] = json.loads(
    (Path(__file__).parents[3] / "cluster" / "grafana" / "raymu.json").read_text(encoding="utf-8")
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
QUERIES = [target["expr"] for _, target in TARGETS]
BY_SERIES: Mapping[str, Metric] = {series: metric for metric in METRICS for series in metric.series}
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def series_of(query: str) -> list[str]:
    return re.findall(r"ray_raymu_\w+", query)


def labels_of(series: str) -> set[str]:
    return {"run", *BY_SERIES[series].labels} | ({"le"} if series.endswith("_bucket") else set())


def test_the_dashboard_has_the_fields_that_grafana_needs() -> None:
    assert 8 <= len(DASHBOARD["uid"]) <= 40
    assert isinstance(DASHBOARD["schemaVersion"], int)
    assert DASHBOARD["title"]
    assert "id" not in DASHBOARD, "it belongs to one Grafana"
    assert {"from", "to"} <= DASHBOARD["time"].keys()


def test_the_data_source_and_the_run_are_chosen_by_variables() -> None:
    assert (VARIABLES["datasource"]["type"], VARIABLES["datasource"]["query"]) == ("datasource", "prometheus")
    run = VARIABLES["run"]
    assert (run["type"], run["multi"], run["includeAll"], run["allValue"]) == ("query", True, True, ".*")
    named = re.fullmatch(r"label_values\((\w+), run\)", run["query"]["query"])
    assert named
    assert BY_SERIES[named[1]].kind is MetricKind.GAUGE
    for element in (run, *PANELS, *(target for _, target in TARGETS)):
        assert element["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_are_numbered_and_described_and_do_not_overlap() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert all(0 <= x < 24 for x, _ in cells), panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {"defaults", "overrides"} == panel["fieldConfig"].keys()
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
    rows = [panel["gridPos"]["y"] for panel in every if panel["type"] == "row"]
    assert all(above < below for above, below in pairwise(rows))


def test_the_dashboard_shows_every_metric_and_no_other_series() -> None:
    queried = {series for query in QUERIES for series in series_of(query)}
    assert queried <= BY_SERIES.keys()
    assert {BY_SERIES[series] for series in queried} == set(METRICS)


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[title for title, _ in TARGETS])
def test_a_query_selects_the_run_and_groups_by_existing_labels(title: str, target: Mapping[str, Any]) -> None:
    query = target["expr"]
    assert query.count("(") == query.count(")")
    query_series = series_of(query)
    assert query_series, title
    assert query.count('{run=~"$run"}') == len(query_series)
    groups = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
    named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    for series in query_series:
        assert groups | named <= labels_of(series), series
        selector = re.escape(series) + r'\{run=~"\$run"\}'
        if BY_SERIES[series].kind is not MetricKind.GAUGE:  # what only rises is shown by how fast it does
            assert re.search(rf"(rate|increase)\({selector}\[\$__rate_interval\]\)", query), series
        if series.endswith("_bucket"):
            assert "le" in groups, series


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_legend_tells_the_lines_of_a_panel_apart(panel: Mapping[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)
    for target in panel["targets"]:
        query = target["expr"]
        kept = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")} - {"le"}
        if not re.search(r"\b(sum|min|avg)\b", query):
            kept = labels_of(*series_of(query))
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == kept


def test_seconds_are_shown_as_seconds() -> None:
    for panel in PANELS:
        units = {BY_SERIES[series].unit for target in panel["targets"] for series in series_of(target["expr"])}
        if units == {"seconds"} and "timestamp" not in str(panel["targets"]):
            assert panel["fieldConfig"]["defaults"]["unit"] == "s", panel["title"]
