"""The service's metrics: those of its runs, with `raymu_info`, and of what it sends, for Prometheus to read."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from raymu.api import Run
from raymu.core.board.board import RevocationBoard
from raymu.core.events import Event, ShardRepaired
from raymu.core.telemetry.collector import MetricsCollector
from raymu.core.telemetry.metrics import METRICS, Measurement, Metric, MetricKind
from raymu.core.verdict import CheckName, LastVerdict, Verdict
from raymu.errors import RaymuError
from raymu.service.audit.document import read_audit
from raymu.service.followed_history import FollowedHistory
from raymu.service.history import History
from raymu.store.journal.event_chain import ChainHead
from raymu.store.run import RunStore
from raymu.web.sender import Outcome

_Series: TypeAlias = tuple[Metric, tuple[str, ...]]

logger = logging.getLogger(__name__)


class ServiceMetrics:
    """The metrics of all runs of a service, in one registry."""

    def __init__(self, audits: Sequence[Path] = ()) -> None:
        """Begin with every metric, and without a run.

        Args:
            audits: Results of audits, as JSON files. They are read whenever the metrics are.
        """
        self.registry = CollectorRegistry()
        self.audits = tuple(audits)
        self._instruments = {metric: _instrument(metric, self.registry) for metric in METRICS}
        self._info = Gauge("raymu_info", "A run of this service: always 1.", ["run", "name"], registry=self.registry)
        self.ready = Gauge(
            "raymu_ready",
            "1 if the run can be read, and its due work succeeds; 0 if not.",
            ["run"],
            registry=self.registry,
        )
        self.shown_audits = Gauge(
            "raymu_audits",
            "Audits of the run that the service shows, by verdict.",
            ["run", "verdict"],
            registry=self.registry,
        )
        self._deliveries = Counter(
            "raymu_deliveries",
            "Attempts to send a message, by receiver: taken, failed and sent again later, or given up.",
            ["receiver", "outcome"],
            registry=self.registry,
        )
        self._runs: list[RunMetrics] = []
        self._refreshing = Lock()

    def of_run(self, run: Run, name: str) -> "RunMetrics":
        """Add a run. Its counters are 0 until the metrics are refreshed after an event."""
        self._info.labels(run=run.run_id, name=name).set(1)
        metrics = RunMetrics(self, RunStore(run.location, trust=run.trust), name)
        self._runs.append(metrics)
        return metrics

    def of_receiver(self, target: str) -> Callable[[Outcome], None]:
        """Add a receiver of messages. What is returned counts what becomes of each attempt."""
        counters = {outcome: self._deliveries.labels(receiver=target, outcome=outcome) for outcome in Outcome}
        return lambda outcome: counters[outcome].inc()

    def refresh(self) -> None:
        """Bring all metrics up to the present. Takes a thread of its own, since journals are read."""
        with self._refreshing:
            for run in self._runs:
                run.refresh()

    def begin(self, run_id: str, metric: Metric) -> None:
        """Export a counter or a histogram of a run with 0 for all values of its labels; a gauge only once it has a value."""
        if metric.kind is not MetricKind.GAUGE:
            for values in metric.label_values:
                self._instruments[metric].labels(run_id, *(values[label] for label in metric.labels))

    def publish(self, run_id: str, measurements: Iterable[Measurement]) -> set[_Series]:
        """Add measurements of a run. Returns which series they are of."""
        published: set[_Series] = set()
        for measurement in measurements:
            metric = measurement.metric
            values = (run_id, *(measurement.labels[label] for label in metric.labels))
            instrument = self._instruments[metric].labels(*values)
            match metric.kind:
                case MetricKind.COUNTER:
                    instrument.inc(measurement.value)  # by 0 it begins
                case MetricKind.GAUGE:
                    instrument.set(measurement.value)
                case MetricKind.HISTOGRAM:
                    instrument.observe(measurement.value)
            published.add((metric, values))
        return published

    def end(self, series: Iterable[_Series]) -> None:
        """Export these series no longer."""
        for metric, values in series:
            with suppress(KeyError):
                self._instruments[metric].remove(*values)


class RunMetrics:
    """The metrics of one run, from its journal, so that they are right whoever changes the run."""

    def __init__(self, service: ServiceMetrics, store: RunStore, name: str) -> None:
        self._service, self._store, self._name = service, store, name
        self._run_id = store.manifest.run_id
        self._followed = FollowedHistory(store)
        self._board: RevocationBoard | None = None
        self._head: ChainHead | None = None  # the last event that was counted
        self._gauges: set[_Series] = set()
        self._verdicts: dict[CheckName, LastVerdict] | None = None  # None: they were not read yet
        self._is_working, self._is_read = False, False
        for metric in METRICS:
            service.begin(self._run_id, metric)
        self._show_readiness()

    def on_look(self, *, is_done: bool) -> None:
        """Note whether the last look at what is due, and what it led to, went well."""
        self._is_working = is_done
        self._show_readiness()

    def refresh(self) -> None:
        """Count the events since the last time, and bring the gauges up to the present. The first time begins there."""
        try:
            with (
                closing(self._store.journal(is_read_only=True)) as journal,
                self._followed.following(journal) as (head, history),
            ):
                if history.board is not self._board:  # the history was read anew
                    self._begin(history)
                if self._head is not None and journal.contains(self._head):
                    for last, event in journal.sealed_events(after=self._head):
                        if last.sequence > head.sequence:
                            break
                        self._service.publish(self._run_id, self._measured(event))
                self._head = head
                self._service.publish(self._run_id, self._verdicts_since())
                gauges = self._service.publish(self._run_id, self._collector.gauges(datetime.now(UTC)))
        except RaymuError as problem:
            if self._is_read:
                logger.warning("a journal could not be read for metrics: %s", type(problem).__name__)
            gauges, self._is_read = set(), False  # no value is better than an old one
        else:
            self._is_read = True
        self._service.end(self._gauges - gauges)
        self._gauges = gauges
        self._show_readiness()
        self._count_audits()

    def _begin(self, history: History) -> None:
        self._board = history.board
        self._collector = MetricsCollector(history.board, history.receipts, workers=lambda: 1, name=self._name)
        for evaluation in history.evaluations[-1:]:
            self._collector.on_event(evaluation)

    def _verdicts_since(self) -> list[Measurement]:
        """Count the verdicts that commands left in the run since the last time. The first time begins there."""
        kept = {verdict.check: verdict for verdict in self._store.verdicts.all(run=self._run_id)}
        before, self._verdicts = self._verdicts, kept
        fresh = [] if before is None else [verdict for verdict in kept.values() if verdict != before.get(verdict.check)]
        counted = [measurement for verdict in fresh for measurement in self._collector.on_verdict(verdict)]
        self._collector.show_verdicts(kept.values())
        return counted

    def _measured(self, event: Event) -> list[Measurement]:
        measurements = self._collector.on_event(event)
        if isinstance(event, ShardRepaired):
            report = event.report
            measurements += self._collector.on_work(report.remedy, passes=report.passes, seconds=report.seconds)
        return measurements

    def _show_readiness(self) -> None:
        self._service.ready.labels(run=self._run_id).set(float(self._is_working and self._is_read))

    def _count_audits(self) -> None:
        verdicts: list[Verdict | None] = []
        for path in self._service.audits:
            with suppress(RaymuError):  # it is of another run, or is being written
                verdicts.append(read_audit(self._store, path).verdict)  # None of a measurement
        for verdict in Verdict:
            self._service.shown_audits.labels(run=self._run_id, verdict=verdict).set(verdicts.count(verdict))


def _instrument(metric: Metric, registry: CollectorRegistry) -> Any:
    labels: Sequence[str] = ("run", *metric.labels)
    match metric.kind:
        case MetricKind.COUNTER:
            return Counter(metric.name, metric.help, labels, registry=registry)
        case MetricKind.GAUGE:
            return Gauge(metric.name, metric.help, labels, registry=registry)
        case MetricKind.HISTOGRAM:
            return Histogram(metric.name, metric.help, labels, registry=registry, buckets=metric.buckets)
