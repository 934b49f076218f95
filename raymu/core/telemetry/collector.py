"""Measures a run: by what happens to it, and by how it stands."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from raymu.core.board.board import RevocationBoard
from raymu.core.deadlines import deadlines
from raymu.core.events import (
    Event,
    GenerationEvaluated,
    GenerationPublished,
    RequestsPurged,
    ShardFailed,
    ShardRepaired,
)
from raymu.core.receipt import Receipt, Receipts
from raymu.core.records import Remedy, ShardLineage
from raymu.core.telemetry import metrics
from raymu.core.telemetry.metrics import TRAINING, Measurement, RequestStage, ShardActivity
from raymu.core.workload import settle_passes

MOST_SHARDS = 64
"""Runs with more shards than this have no measurements of single shards: Prometheus keeps every label for long."""


class MetricsCollector:
    """Told of every event once the board and the receipts, which it only looks at, have taken it in."""

    def __init__(
        self, board: RevocationBoard, receipts: Receipts, *, epochs: Sequence[int], workers: Callable[[], int]
    ) -> None:
        """epochs: of each stage; workers: says how many are at hand now"""
        self._board, self._receipts = board, receipts
        self._epochs, self._count_workers = tuple(epochs), workers
        self._workers = 0
        self._accuracy: float | None = None
        self._standing: list[Measurement] | None = None  # None: something has happened since
        self._next_due_s, self._settle_by_s = 0.0, 0.0

    def happened(self, event: Event) -> list[Measurement]:
        """What an event adds to counters and histograms. Each event is to be told once."""
        self._standing = None
        match event:
            case ShardRepaired(report=report):
                return [
                    metrics.REPAIRS.of(1.0, remedy=report.remedy),
                    metrics.REPAIR_SECONDS.of(report.seconds, remedy=report.remedy),
                ]
            case ShardFailed():
                return [metrics.REPAIR_FAILURES.of(1.0)]
            case GenerationPublished():
                return [metrics.GENERATIONS.of(1.0), *self._waits(event)]
            case RequestsPurged(request_ids=request_ids, rows=rows):
                waits = [self._wait(one, RequestStage.PURGED, event.at) for one in request_ids]
                return [*([metrics.DESTROYED_SAMPLES.of(float(rows))] if rows else []), *waits]
            case GenerationEvaluated(accuracy=accuracy):
                self._accuracy = accuracy
                return []
            case _:
                return []

    def worked(self, remedy: Remedy | None, *, passes: float, seconds: float) -> list[Measurement]:
        """What a stage, or a patch, adds. remedy: None while the run is trained; passes: of samples; seconds: of compute"""
        name = remedy or TRAINING
        amounts = ((metrics.PASSES, passes), (metrics.COMPUTE_SECONDS, seconds))
        found = [metric.of(amount, remedy=name) for metric, amount in amounts if amount > 0.0]
        if passes > 0.0:
            found.append(metrics.SECONDS_PER_PASS.of(seconds / passes, remedy=name))
        return found

    def stands(self, now: datetime) -> list[Measurement]:
        """All gauges; computed anew after an event or a change of workers, except those that run with the clock."""
        workers = self._count_workers()
        if self._standing is None or workers != self._workers:
            self._workers = workers
            self._measure_deadlines(now)
            self._standing = [*self._of_requests(), *self._of_shards()]
        found = [*self._standing, metrics.NEXT_DUE.of(self._next_due_s), metrics.SETTLE_BY.of(self._settle_by_s)]
        if self._settle_by_s:
            found.append(metrics.DEADLINE_SLACK.of(self._settle_by_s - now.timestamp()))
        return found

    def _of_requests(self) -> list[Measurement]:
        states = Counter(request_stage(receipt) for receipt in self._receipts.receipts())
        found = [metrics.REQUESTS.of(float(states[state]), state=state) for state in RequestStage]
        if self._accuracy is not None:
            found.append(metrics.ACCURACY.of(self._accuracy))
        return found

    def _of_shards(self) -> list[Measurement]:
        lineages = self._board.lineages
        at_work = {command.shard for command in self._board.running}
        duties = Counter(self._duty(lineage, at_work) for lineage in lineages)
        single = lineages if len(lineages) <= MOST_SHARDS else ()
        return [
            *(metrics.SHARDS.of(float(duties[duty]), duty=duty) for duty in ShardActivity),
            metrics.SAMPLES.of(float(sum(lineage.samples for lineage in lineages))),
            metrics.WORKERS.of(float(self._workers)),
            metrics.DEBT_SHARDS.of(float(sum(bool(lineage.debts) for lineage in lineages))),
            metrics.DEBT_PASSES.of(float(settle_passes(lineages, self._epochs))),
            *(metrics.SHARD_SECONDS_PER_PASS.of(one.seconds_per_pass, shard=str(one.shard)) for one in single),
        ]

    def _duty(self, lineage: ShardLineage, at_work: set[int]) -> ShardActivity:
        if lineage.shard in at_work:
            return ShardActivity.AT_WORK
        if self._board.pending_requests(lineage.shard):
            return ShardActivity.WAITING
        return ShardActivity(lineage.exactness)

    def _measure_deadlines(self, now: datetime) -> None:
        owed = self._board.owed
        receipts = [self._receipts.receipt(request_id) for request_id in owed]
        due = deadlines(receipts, owed, self._board.settle_workloads(), now=now, workers=self._workers)
        self._next_due_s = min((one.due_at.timestamp() for one in due), default=0.0)
        self._settle_by_s = min((one.due_at.timestamp() - one.exact_after_s for one in due), default=0.0)

    def _waits(self, event: GenerationPublished) -> list[Measurement]:
        """How long requests waited for what a generation tells of them."""
        exact = [one for one in event.repaired if self._receipts.receipt(one).settled_at]
        reached = (
            (RequestStage.REWOUND, event.rewound),
            (RequestStage.PUBLISHED, event.repaired),
            (RequestStage.SETTLED, (*exact, *event.settled)),
        )
        return [self._wait(one, state, event.at) for state, request_ids in reached for one in request_ids]

    def _wait(self, request_id: str, state: RequestStage, at: datetime) -> Measurement:
        received_at = self._receipts.receipt(request_id).received_at
        return metrics.REQUEST_SECONDS.of(max(0.0, (at - received_at).total_seconds()), state=state)


def request_stage(receipt: Receipt) -> RequestStage:
    if receipt.purged_at:
        return RequestStage.SETTLED if receipt.settled_at else RequestStage.PURGED
    if receipt.published_at:
        return RequestStage.PUBLISHED
    return RequestStage.REWOUND if receipt.rewound_at else RequestStage.ACCEPTED
