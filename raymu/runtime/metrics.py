"""A run's metrics, published through Ray: the agent of each node exports them to Prometheus."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from raymu.core.board.board import RevocationBoard
from raymu.core.events import Event
from raymu.core.receipts import Receipts
from raymu.core.telemetry.collector import MetricsCollector
from raymu.core.telemetry.metrics import METRICS, Measurement, Metric, MetricKind
from raymu.core.uri import basename
from raymu.core.verdict import LastVerdict
from raymu.runtime.ray_internals import begin_counter
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.executor import Observer
from raymu.service.coordinator.session import in_thread
from raymu.service.event_log import EventLog, log_to_stderr
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import ProgressFleet, ShardFleet
from raymu.service.shard.messages import StageProgress
from raymu.store.run import RunStore

REFRESH_S = 1.0
"""Seconds between updates of the gauges: Ray exports a gauge once for each update, and drops it without a new one."""


def measured_coordinator(
    store: RunStore, fleet: ShardFleet, first: Sequence[Revocation] = ()
) -> tuple[Coordinator, "RunMetrics"]:
    """Open a run's coordinator with published metrics, and with its log in this process's file among Ray's logs.

    Args:
        store: The run.
        fleet: Carries the work out.
        first: Requests of the first call. The run is not taken over if one of them is refused.

    Raises:
        RaymuError: RunInvalid, FileMissing or FileCorrupt, or what refuses a request.
    """
    log_to_stderr()
    metrics = RunMetrics(store, workers=lambda: fleet.workers)
    observers: list[Observer] = [EventLog(store.manifest.run_id), metrics]
    progress_fleet = ProgressFleet(fleet, metrics.on_stage)
    return Coordinator(store, progress_fleet, offload=in_thread, observers=observers, first=first), metrics


class RunMetrics:
    """The metrics of one run while its coordinator is in this process. Its gauges end soon after."""

    def __init__(self, store: RunStore, *, workers: Callable[[], int]) -> None:
        """Register the metrics. `workers` returns how many workers the fleet has now."""
        self._run, self._workers, self._name = store.manifest.run_id, workers, basename(store.location)
        self._kept = store.verdicts.all(run=self._run)
        self._instruments = {metric: _instrument(metric) for metric in METRICS}

    def on_open(self, board: RevocationBoard, receipts: Receipts) -> None:
        self._collector = MetricsCollector(board, receipts, workers=self._workers, name=self._name)
        self._collector.show_verdicts(self._kept)
        self._publish(self._collector.zeros())
        self._refreshing = asyncio.create_task(self._refresh())

    def on_event(self, event: Event) -> None:
        self._publish(self._collector.on_event(event))

    def on_stage(self, stage: StageProgress) -> None:
        self._publish(self._collector.on_work(stage.remedy, passes=stage.passes, seconds=stage.seconds))

    def on_verdict(self, verdict: LastVerdict) -> None:
        """Count the verdict of a verification or an audit that another process made, and show it."""
        self._publish(self._collector.on_verdict(verdict))

    def on_close(self) -> None:
        self._refreshing.cancel()

    async def _refresh(self) -> None:
        while True:
            self._publish(self._collector.gauges(datetime.now(UTC)))
            await asyncio.sleep(REFRESH_S)

    def _publish(self, measurements: Iterable[Measurement]) -> None:
        for measurement in measurements:
            tags = {"run": self._run, **measurement.labels}
            instrument = self._instruments[measurement.metric]
            match measurement.metric.kind:
                case MetricKind.COUNTER if measurement.value:
                    instrument.inc(measurement.value, tags=tags)
                case MetricKind.COUNTER:
                    begin_counter(instrument, tags)
                case MetricKind.GAUGE:
                    instrument.set(measurement.value, tags=tags)
                case MetricKind.HISTOGRAM:
                    instrument.observe(measurement.value, tags=tags)


def _instrument(metric: Metric) -> Any:
    """Return Ray's instrument for a metric."""
    labels = ("run", *metric.labels)
    match metric.kind:
        case MetricKind.COUNTER:
            return Counter(metric.name, description=metric.help, tag_keys=labels)
        case MetricKind.GAUGE:
            return Gauge(metric.name, description=metric.help, tag_keys=labels)
        case MetricKind.HISTOGRAM:
            return Histogram(metric.name, description=metric.help, boundaries=list(metric.buckets), tag_keys=labels)
