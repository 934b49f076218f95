"""The service's metrics: those of its runs, with `raymu_info`, for Prometheus to read."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from raymu.api import Run
from raymu.core.board.board import RevocationBoard
from raymu.core.events import Event
from raymu.core.receipts import Receipts
from raymu.core.telemetry.collector import MetricsCollector
from raymu.core.telemetry.metrics import METRICS, Measurement, Metric, MetricKind


class ServiceMetrics:
    """The metrics of all runs of a service, in one registry."""

    def __init__(self) -> None:
        """Begin with every metric, and without a run."""
        self.registry = CollectorRegistry()
        self._instruments = {metric: _instrument(metric, self.registry) for metric in METRICS}
        self._info = Gauge("raymu_info", "A run of this service: always 1.", ["run", "name"], registry=self.registry)
        self._runs: list[RunMetrics] = []

    def of_run(self, run: Run, name: str) -> "RunMetrics":
        """Add a run. What is returned observes its coordinator."""
        self._info.labels(run=run.run_id, name=name).set(1)
        metrics = RunMetrics(self, run.run_id, name)
        self._runs.append(metrics)
        return metrics

    def refresh(self) -> None:
        """Bring the gauges up to the present."""
        for run in self._runs:
            run.refresh()

    def publish(self, run_id: str, measurements: Iterable[Measurement]) -> None:
        """Add measurements of a run."""
        for measurement in measurements:
            instrument = self._instruments[measurement.metric].labels(run=run_id, **measurement.labels)
            match measurement.metric.kind:
                case MetricKind.COUNTER:
                    instrument.inc(measurement.value)  # by 0 it begins
                case MetricKind.GAUGE:
                    instrument.set(measurement.value)
                case MetricKind.HISTOGRAM:
                    instrument.observe(measurement.value)


class RunMetrics:
    """Observes the coordinator of one run in this process."""

    def __init__(self, service: ServiceMetrics, run_id: str, name: str) -> None:
        self._service, self._run_id, self._name = service, run_id, name
        self._collector: MetricsCollector | None = None

    def on_open(self, board: RevocationBoard, receipts: Receipts) -> None:
        self._collector = MetricsCollector(board, receipts, workers=lambda: 1, name=self._name)
        self._service.publish(self._run_id, self._collector.zeros())

    def on_event(self, event: Event) -> None:
        if self._collector is not None:
            self._service.publish(self._run_id, self._collector.on_event(event))

    def on_close(self) -> None:
        """Keep the last state: the coordinator comes back with the next request."""

    def refresh(self) -> None:
        """Bring the gauges up to the present."""
        if self._collector is not None:
            self._service.publish(self._run_id, self._collector.gauges(datetime.now(UTC)))


def _instrument(metric: Metric, registry: CollectorRegistry) -> Any:
    labels: Sequence[str] = ("run", *metric.labels)
    match metric.kind:
        case MetricKind.COUNTER:
            return Counter(metric.name, metric.help, labels, registry=registry)
        case MetricKind.GAUGE:
            return Gauge(metric.name, metric.help, labels, registry=registry)
        case MetricKind.HISTOGRAM:
            return Histogram(metric.name, metric.help, labels, registry=registry, buckets=metric.buckets)
