"""The names of the metrics in Prometheus."""

import re

import pytest

from raymu.core.telemetry.metrics import METRICS, PASSES, REPAIR_SECONDS, REQUESTS, Metric, MetricKind

PERSONAL = {"id", "sample", "owner", "key", "subject", "path", "request"}


def test_names_are_unique_and_such_as_prometheus_takes() -> None:
    names = [series for metric in METRICS for series in metric.series]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"ray_raymu_[a-z][a-z_]*[a-z]", name) for name in names)


def test_metrics_in_seconds_end_with_their_unit() -> None:
    in_seconds = {metric.name for metric in METRICS if metric.unit == "seconds"}
    assert all(name.endswith(("_seconds", "_seconds_per_pass")) for name in in_seconds)
    assert in_seconds == {metric.name for metric in METRICS if "_seconds" in metric.name}


def test_every_metric_is_explained_and_no_label_can_name_a_person() -> None:
    for metric in METRICS:
        assert len(metric.help) > 10
        assert not PERSONAL.intersection(metric.labels), metric.name
        assert "run" not in metric.labels, "every measurement has it anyway"


def test_series_have_the_names_that_prometheus_uses() -> None:
    assert PASSES.series == ("ray_raymu_passes_total",)
    assert REQUESTS.series == ("ray_raymu_requests",)
    assert REPAIR_SECONDS.series == tuple(f"ray_raymu_repair_seconds_{part}" for part in ("bucket", "sum", "count"))


def test_a_measurement_with_other_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="raymu_passes has labels"):
        PASSES.of(1.0)
    with pytest.raises(ValueError, match="raymu_passes has labels"):
        PASSES.of(1.0, remedy="patch", owner="somebody")


def test_buckets_belong_to_histograms_and_rise() -> None:
    with pytest.raises(ValueError, match="a histogram has buckets"):
        Metric(name="raymu_a", kind=MetricKind.HISTOGRAM, unit="seconds", help="", labels=())
    with pytest.raises(ValueError, match="do not rise"):
        Metric(name="raymu_a", kind=MetricKind.HISTOGRAM, unit="seconds", help="", labels=(), buckets=(1.0, 1.0))
