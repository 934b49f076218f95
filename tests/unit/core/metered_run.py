"""A small run that is measured, with a coordinator and a clock that the test controls."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration, Purge, RepairShard
from raymu.core.events import Event, GenerationPublished, RequestsPurged, ShardRepaired
from raymu.core.prediction_change import PredictionChange
from raymu.core.receipts import Receipts
from raymu.core.telemetry.collector import MetricsCollector
from raymu.core.telemetry.metrics import Measurement
from tests.unit.core.examples import NOW, report_of, trained_board

Measured = dict[tuple[str, ...], float]
"""(name, *label values) -> value"""


class MeteredRun:
    """Adds up the measurements of counters and histograms, and counts them."""

    def __init__(self, shards: int = 3, *, workers: int = 2, **unlearning: Any) -> None:
        self.board: RevocationBoard = trained_board(shards, **unlearning)
        self.receipts = Receipts()
        self.workers = workers
        self.collector = MetricsCollector(self.board, self.receipts, workers=lambda: self.workers, name="letter")
        self.now = NOW
        self.sums: Measured = {}
        self.times: dict[tuple[str, ...], int] = {}
        self.running: dict[int, RepairShard] = {}
        self._number = 1

    def handle(self, event: Event) -> None:
        self.receipts.handle(event)
        commands = self.board.handle(event)
        self.add(self.collector.on_event(event))
        for command in commands:
            match command:
                case PublishGeneration():
                    self._number += 1
                    self.handle(
                        GenerationPublished(
                            at=self.now,
                            number=self._number,
                            manifest_sha256="",
                            rewound=command.rewound,
                            repaired=command.repaired,
                            settled=command.settled,
                        )
                    )
                case Purge():
                    files = tuple(command.files)
                    self.handle(
                        RequestsPurged(at=self.now, request_ids=command.request_ids, files=files, rows=command.rows)
                    )
                case RepairShard():
                    self.running[command.shard] = command

    def repair(
        self, shard: int, touched: Mapping[int, int], *, after_s: float, change: PredictionChange | None = None
    ) -> None:
        """End the running repair of a shard after some seconds. `touched` is the number of forgotten samples by slice."""
        self.now += timedelta(seconds=after_s)
        report = report_of(self.running.pop(shard), touched, version=str(self._number), change=change)
        self.handle(ShardRepaired(at=self.now, report=report))

    def add(self, measurements: list[Measurement]) -> None:
        for measurement in measurements:
            name = _series(measurement)
            self.sums[name] = self.sums.get(name, 0.0) + measurement.value
            self.times[name] = self.times.get(name, 0) + 1

    def gauges(self, *, after_s: float = 0.0) -> Measured:
        """Return all gauges some seconds from now."""
        gauges = self.collector.gauges(self.now + timedelta(seconds=after_s))
        values = {_series(gauge): gauge.value for gauge in gauges}
        assert len(values) == len(gauges)
        return values


def _series(measurement: Measurement) -> tuple[str, ...]:
    metric = measurement.metric
    return (metric.name.removeprefix("raymu_"), *(str(measurement.labels[label]) for label in metric.labels))
