"""Measures a run: counters and histograms from its events, gauges from its state."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from raymu.core.board.board import RevocationBoard
from raymu.core.deadlines import deadlines
from raymu.core.events import (
    Event,
    GenerationEvaluated,
    GenerationPublished,
    RequestsPurged,
    RevocationsAccepted,
    ShardFailed,
    ShardRepaired,
)
from raymu.core.receipt import RequestStage
from raymu.core.receipts import Receipts
from raymu.core.records import Remedy
from raymu.core.residuals import residuals_by
from raymu.core.telemetry import metrics
from raymu.core.telemetry.metrics import SHARD_DUTIES, TRAINING, Measurement, MetricKind, ShardActivity
from raymu.core.telemetry.shard_totals import ShardTotals
from raymu.core.verdict import CHECKS, CheckName, LastVerdict, Verdict

MOST_SHARDS = 64
"""Runs with more shards have no series for each shard, since Prometheus keeps every label value that it ever saw."""


class MetricsCollector:
    """Turns a run's events and state into measurements. It reads the board and the receipts and changes neither."""

    def __init__(
        self,
        board: RevocationBoard,
        receipts: Receipts,
        *,
        workers: Callable[[], int],
        name: str = "",
    ) -> None:
        """Observe a run.

        Args:
            board: The run's board.
            receipts: The run's receipts.
            workers: Returns how many shards can be repaired side by side now.
            name: Name of the run's directory.
        """
        self._name = name
        self._totals = ShardTotals()
        self._board, self._receipts = board, receipts
        self._count_workers = workers
        self._workers = 0
        self._accuracy: float | None = None
        self._verdicts: dict[CheckName, LastVerdict] = {}
        self._gauges: list[Measurement] | None = None  # None: an event has come since
        self._next_due_s, self._settle_by_s = 0.0, 0.0
        self._owed_until_s: tuple[float, ...] = ()  # due times of the requests that are not exact
        self._overdue_for_good = 0  # inconclusive requests that are past their due date
        self._exact_too_late = 0

    def zeros(self) -> list[Measurement]:
        """Return a 0 for every counter and value of its labels. Publish them before anything else."""
        return [zero for metric in metrics.METRICS if metric.kind is MetricKind.COUNTER for zero in metric.zeros]

    def on_event(self, event: Event) -> list[Measurement]:
        """Return what an event adds to counters and histograms.

        Call this once for each event, after the board and the receipts have applied it.
        """
        self._gauges = None
        match event:
            case ShardRepaired(report=report):
                return [
                    metrics.REPAIRS.of(1.0, remedy=report.remedy),
                    metrics.REPAIR_SECONDS.of(report.seconds, remedy=report.remedy),
                ]
            case RevocationsAccepted(requests=requests):
                counts = Counter(request.strategy for request in requests)
                return [metrics.ACCEPTED.of(float(count), strategy=strategy) for strategy, count in counts.items()]
            case ShardFailed():
                return [metrics.REPAIR_FAILURES.of(1.0)]
            case GenerationPublished():
                return [metrics.GENERATIONS.of(1.0), *self._published_waits(event)]
            case RequestsPurged(request_ids=request_ids, rows=rows):
                waits = self._waits(request_ids, RequestStage.PURGED, event.at)
                return [*([metrics.DESTROYED_SAMPLES.of(float(rows))] if rows else []), *waits]
            case GenerationEvaluated(accuracy=accuracy):
                self._accuracy = accuracy
                return []
            case _:
                return []

    def on_work(self, remedy: Remedy | None, *, passes: float, seconds: float) -> list[Measurement]:
        """Return what a trained stage or a patch adds.

        Args:
            remedy: None while the run is trained.
            passes: Sample passes.
            seconds: Seconds of compute.
        """
        label = remedy or TRAINING
        amounts = ((metrics.PASSES, passes), (metrics.COMPUTE_SECONDS, seconds))
        measurements = [metric.of(amount, remedy=label) for metric, amount in amounts if amount > 0.0]
        if passes > 0.0:
            measurements.append(metrics.SECONDS_PER_PASS.of(seconds / passes, remedy=label))
        return measurements

    def show_verdicts(self, verdicts: Iterable[LastVerdict]) -> None:
        """Show these verdicts, and no others, as the last ones. They are not counted."""
        self._verdicts = {verdict.check: verdict for verdict in verdicts}

    def on_verdict(self, verdict: LastVerdict) -> list[Measurement]:
        """Return what the verdict of a verification or an audit adds. The gauges show it from now on."""
        self._verdicts[verdict.check] = verdict
        return [metrics.VERDICTS.of(1.0, check=verdict.check, verdict=verdict.verdict)]

    def gauges(self, now: datetime) -> list[Measurement]:
        """Return the current gauge values, cached until the next event; those that depend on the time are recomputed."""
        workers = self._count_workers()
        if self._gauges is None or workers != self._workers:
            self._workers = workers
            self._update_deadlines(now)
            self._gauges = [*self._request_gauges(), *self._shard_gauges(), *self._residual_gauges()]
        timed = [metrics.NEXT_DUE.of(self._next_due_s), metrics.SETTLE_BY.of(self._settle_by_s)]
        if self._settle_by_s:
            timed.append(metrics.DEADLINE_SLACK.of(self._settle_by_s - now.timestamp()))
        overdue = self._overdue_for_good + sum(due_s < now.timestamp() for due_s in self._owed_until_s)
        timed += [metrics.OVERDUE.of(float(overdue)), metrics.MISSED.of(float(overdue + self._exact_too_late))]
        return [*self._gauges, *timed, *self._verdict_gauges()]

    def _verdict_gauges(self) -> list[Measurement]:
        gauges: list[Measurement] = []
        for check in CHECKS:
            last = self._verdicts.get(check)
            gauges += [
                metrics.LAST_VERDICT.of(
                    float(last is not None and last.verdict is verdict), check=check, verdict=verdict
                )
                for verdict in Verdict
            ]
            gauges.append(metrics.LAST_VERDICT_AT.of(last.at.timestamp() if last else 0.0, check=check))
            number = last.generation if last else None
            gauges.append(metrics.LAST_VERDICT_GENERATION.of(float(number or 0), check=check))
        return gauges

    def _request_gauges(self) -> list[Measurement]:
        counts = Counter(receipt.stage for receipt in self._receipts.open)
        counts[RequestStage.SETTLED] += self._receipts.done.requests
        group_due_at = self._board.group_due_at
        gauges = [
            metrics.RUN.of(1.0, name=self._name),
            metrics.GROUP_REQUESTS.of(float(len(self._board.group.request_ids))),
            metrics.GROUP_DUE.of(group_due_at.timestamp() if group_due_at else 0.0),
        ]
        gauges += [metrics.REQUESTS.of(float(counts[stage]), state=stage) for stage in RequestStage]
        if self._accuracy is not None:
            gauges.append(metrics.ACCURACY.of(self._accuracy))
        return gauges

    def _shard_gauges(self) -> list[Measurement]:
        lineages, totals = self._board.lineages, self._totals
        totals.update(lineages, self._board.epochs)
        running = {command.shard for command in self._board.repairs}
        waiting = self._board.awaited_shards - running
        duties = Counter(totals.exactness)
        duties.subtract(str(lineages[shard].exactness) for shard in running | waiting)
        duties.update({ShardActivity.RUNNING: len(running), ShardActivity.WAITING: len(waiting)})
        listed = lineages if len(lineages) <= MOST_SHARDS else ()
        return [
            *(metrics.SHARDS.of(float(duties[duty]), duty=duty) for duty in SHARD_DUTIES),
            metrics.SAMPLES.of(float(totals.samples)),
            metrics.WORKERS.of(float(self._workers)),
            metrics.DEBT_SHARDS.of(float(totals.debt_shards)),
            metrics.DEBT_PASSES.of(float(totals.debt_passes)),
            *(
                metrics.SHARD_SECONDS_PER_PASS.of(lineage.seconds_per_pass, shard=str(lineage.shard))
                for lineage in listed
            ),
        ]

    def _residual_gauges(self) -> list[Measurement]:
        """Return the means that are known. A label names a kind of states or of samples, never a shard."""
        residuals = residuals_by(self._receipts.residuals)
        means = {
            "residual": residuals.residual,
            "untouched": residuals.untouched,
            "patched": residuals.patched,
        }
        return [
            metrics.PREDICTION_CHANGE.of(value, states=states, samples=samples)
            for states, mean in means.items()
            for samples, value in asdict(mean.change).items()
            if value is not None
        ]

    def _update_deadlines(self, now: datetime) -> None:
        owed = self._board.owed
        receipts, done = self._receipts.open, self._receipts.done.at(now)
        due = deadlines(receipts, owed, self._board.settle_workloads(), now=now, workers=self._workers)
        inexact = [*done.inconclusive_due, *(receipt.due_at for receipt in receipts if not receipt.is_exact)]
        self._owed_until_s = tuple(due_at.timestamp() for due_at in inexact)
        self._overdue_for_good = done.overdue
        late = sum(receipt.is_exact and receipt.at(now).due_met is False for receipt in receipts)
        self._exact_too_late = done.exact_late + late
        self._next_due_s = min((deadline.due_at.timestamp() for deadline in due), default=0.0)
        starts_s = [deadline.due_at.timestamp() - deadline.exact_after_s for deadline in due]
        self._settle_by_s = min(starts_s, default=0.0)

    def _published_waits(self, event: GenerationPublished) -> list[Measurement]:
        """Measure how long requests took to the stages that a generation brings them to."""
        exact = [request_id for request_id in event.repaired if self._receipts.is_settled(request_id)]
        reached = (
            (RequestStage.REWOUND, event.rewound),
            (RequestStage.PUBLISHED, event.repaired),
            (RequestStage.SETTLED, (*exact, *event.settled)),
        )
        return [wait for stage, request_ids in reached for wait in self._waits(request_ids, stage, event.at)]

    def _waits(self, request_ids: Sequence[str], stage: RequestStage, at: datetime) -> list[Measurement]:
        waits_s = [(at - receipt.received_at).total_seconds() for receipt in self._receipts.of(request_ids).values()]
        return [metrics.REQUEST_SECONDS.of(max(0.0, wait_s), state=stage) for wait_s in waits_s]
