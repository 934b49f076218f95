"""Replays a trace on a run's board with a simulated clock, with forecast repairs or with real ones."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Protocol

import numpy as np

from raymu.config import UnlearningConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import Command, PublishGeneration, Purge, RepairReport, RepairShard
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, RunTrained, ShardRepaired
from raymu.core.partition import Indices
from raymu.core.planning.simulated_shard import SimulatedRepairs
from raymu.core.planning.trace import RevocableSamples, Trace
from raymu.core.records import Exactness, FileRef, ShardLineage
from raymu.core.repair_speed import RepairSpeeds
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.core.run_shape import RunShape
from raymu.core.workload import settle_passes


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestTimes:
    """When a request was served, in seconds from the start of the trace."""

    arrived_s: float
    accepted_s: float
    repaired_s: float
    """When its last shard was repaired."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationSummary:
    """Totals of a simulated trace."""

    requests: tuple[RequestTimes, ...]
    """Times of each request, in the order of the trace."""
    shard_passes: tuple[float, ...]
    """Sample passes of the repairs of each shard."""
    remedies: int
    passes: float
    """Sample passes of all repairs."""
    compute_seconds: float
    """Seconds of compute, summed over all shards."""
    makespan_s: float
    """Seconds from the first request's arrival until the last is repaired."""
    p50_s: float
    """Median seconds from a request's arrival until it is repaired."""
    p95_s: float
    """The 95th percentile of the same."""
    approximate_share: float
    """Share of the repairs that patched."""
    patched_requests: float
    """Share of the requests that were patched, when their repair was done; one that touches several shards counts in part."""
    debt_shards: int
    """Shards that settling would retrain at the end."""
    debt_passes: int
    """Sample passes of settling them."""


def summarize(
    requests: Sequence[RequestTimes],
    reports: Sequence[RepairReport],
    lineages: Sequence[ShardLineage],
    *,
    epochs: Sequence[int],
) -> SimulationSummary:
    """Compute the totals of a simulated trace.

    Args:
        requests: The requests, at least one.
        reports: The reports of all repairs.
        lineages: The shards at the end.
        epochs: Epochs of each stage.
    """
    waits = [request.repaired_s - request.arrived_s for request in requests]
    shard_passes = [0.0] * len(lineages)
    for report in reports:
        shard_passes[report.shard] += report.passes
    patched = sum(report.exactness is Exactness.APPROXIMATE for report in reports)
    return SimulationSummary(
        requests=tuple(requests),
        shard_passes=tuple(shard_passes),
        remedies=len(reports),
        passes=sum(shard_passes),
        compute_seconds=sum(report.seconds for report in reports),
        makespan_s=max(request.repaired_s for request in requests) - min(request.arrived_s for request in requests),
        p50_s=float(np.quantile(waits, 0.5)),
        p95_s=float(np.quantile(waits, 0.95)),
        approximate_share=patched / len(reports),
        patched_requests=_patched_requests(reports),
        debt_shards=sum(lineage.tainted_from is not None for lineage in lineages),
        debt_passes=settle_passes(lineages, epochs),
    )


def _patched_requests(reports: Sequence[RepairReport]) -> float:
    """Average over the requests, of each the share of its shards that were patched for it."""
    is_patched: dict[str, list[bool]] = {}
    for report in reports:
        for request_id in report.request_ids:
            is_patched.setdefault(request_id, []).append(report.exactness is Exactness.APPROXIMATE)
    return fmean(map(fmean, is_patched.values()))


_START = datetime(1970, 1, 1, tzinfo=UTC)


class RepairExecutor(Protocol):
    """Carries out the board's commands. The simulated clock advances by the seconds of each report."""

    def execute(self, command: RepairShard, accepted: Mapping[str, RevocationRequest]) -> RepairReport:
        """Repair a shard. `accepted` has every request so far, by its index in the trace."""
        ...

    def destroy(self, files: Collection[FileRef]) -> None:
        """Destroy superseded files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationResult:
    """The totals of a simulated trace, and the shards at the end."""

    summary: SimulationSummary
    lineages: tuple[ShardLineage, ...]


def simulate(
    trace: Trace,
    population: RevocableSamples,
    lineages: Sequence[ShardLineage],
    *,
    shape: RunShape,
    workers: int,
    window_s: float = 0.0,
    speeds: RepairSpeeds | None = None,
    repairs: RepairExecutor | None = None,
    on_batch: Callable[[int, float, tuple[ShardLineage, ...]], None] = lambda _accepted, _passes, _lineages: None,
) -> SimulationResult:
    """Replay a trace with the strategy and boundary of the run's settings.

    Args:
        trace: The requests.
        population: The samples that the shards hold.
        lineages: The shards at first.
        shape: The run.
        workers: Shards that are repaired side by side.
        window_s: Batch window in seconds, see `Trace.batches`.
        speeds: What earlier repairs have shown of the speed of each remedy; nothing by default.
        repairs: Carries repairs out, in the simulated order. By default a repair takes its forecast time.
        on_batch: Called after each batch with the number of accepted requests, the sample passes so far and the shards.

    Raises TraceInvalid if the trace names samples that the population does not have.
    """
    training = (
        RunTrained(at=_START, lineages=tuple(lineages), workers=workers),
        GenerationPublished(at=_START, number=1, manifest_sha256=""),
    )
    board = RevocationBoard.replayed(training, shape, workers=workers, speeds=speeds)
    requests = _requests(trace, population, shape.unlearning)
    simulator = _Simulator(board, repairs or SimulatedRepairs(), workers=workers)
    accepted_s: dict[str, float] = {}
    for batch in trace.batches(window_s):
        request_ids = [str(index) for index in batch.indices]
        simulator.accept({request_id: requests[request_id] for request_id in request_ids}, at_s=batch.at_s)
        accepted_s.update(dict.fromkeys(request_ids, batch.at_s))
        on_batch(len(accepted_s), sum(report.passes for report in simulator.reports), board.lineages)
    simulator.finish()
    times = [
        RequestTimes(
            arrived_s=traced.at_s, accepted_s=accepted_s[request_id], repaired_s=simulator.repaired_s[request_id]
        )
        for request_id, traced in zip(requests, trace.requests, strict=True)
    ]
    summary = summarize(times, simulator.reports, board.lineages, epochs=board.epochs)
    return SimulationResult(summary=summary, lineages=board.lineages)


def _requests(trace: Trace, population: RevocableSamples, config: UnlearningConfig) -> dict[str, RevocationRequest]:
    """Return the requests of a trace as the board accepts them, by their index in the trace."""
    return {
        str(index): RevocationRequest(
            request_id=str(index),
            payload_sha256="",
            strategy=config.strategy,
            boundary=config.boundary,
            received_at=_time(traced.at_s),
            due_at=_time(traced.at_s),
            forget=_forget(population, rows),
            hashes=(),
        )
        for index, (traced, rows) in enumerate(zip(trace.requests, population.rows_of(trace), strict=True))
    }


def _forget(population: RevocableSamples, rows: Indices) -> tuple[ForgetSet, ...]:
    by_shard: dict[int, Counter[int]] = {}
    for shard, slice_index in zip(population.shards[rows].tolist(), population.slices[rows].tolist(), strict=True):
        by_shard.setdefault(shard, Counter())[slice_index] += 1
    return tuple(ForgetSet(shard=shard, samples_by_slice=dict(by_shard[shard])) for shard in sorted(by_shard))


def _time(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


class _Simulator:
    """A coordinator and its fleet, on a clock that jumps from one event to the next."""

    def __init__(self, board: RevocationBoard, repairs: RepairExecutor, *, workers: int) -> None:
        self._board, self._repairs = board, repairs
        self._accepted: dict[str, RevocationRequest] = {}
        self._now_s, self._generation, self._started = 0.0, 1, 0
        self._idle = workers
        self._queue: deque[RepairShard] = deque()
        self._running: list[tuple[float, int, RepairReport]] = []  # heap by (end, number, report)
        self.repaired_s: dict[str, float] = {}
        self.reports: list[RepairReport] = []

    def accept(self, requests: Mapping[str, RevocationRequest], *, at_s: float) -> None:
        while self._running and self._running[0][0] <= at_s:
            self._end_next()
        self._now_s = at_s
        self._accepted |= requests
        together = tuple(requests.values())
        self._apply(RevocationsAccepted(at=_time(at_s), requests=together, generation=self._generation))

    def finish(self) -> None:
        while self._running:
            self._end_next()

    def _end_next(self) -> None:
        self._now_s, _, report = heapq.heappop(self._running)
        self._idle += 1
        self.reports.append(report)
        self._apply(ShardRepaired(at=_time(self._now_s), report=report))

    def _apply(self, event: Event) -> None:
        for command in self._board.handle(event):
            self._execute(command)
        while self._idle and self._queue:
            self._start(self._queue.popleft())

    def _execute(self, command: Command) -> None:
        match command:
            case RepairShard():
                self._queue.append(command)
            case PublishGeneration():
                self._publish(command)
            case Purge():
                files = tuple(command.files)
                self._repairs.destroy(files)
                at = _time(self._now_s)
                self._apply(RequestsPurged(at=at, request_ids=command.request_ids, files=files, rows=command.rows))

    def _start(self, command: RepairShard) -> None:
        report = self._repairs.execute(command, self._accepted)
        self._idle -= 1
        self._started += 1
        heapq.heappush(self._running, (self._now_s + report.seconds, self._started, report))

    def _publish(self, command: PublishGeneration) -> None:
        self._generation += 1
        self.repaired_s.update(dict.fromkeys(command.repaired, self._now_s))
        self._apply(
            GenerationPublished(
                at=_time(self._now_s),
                number=self._generation,
                manifest_sha256="",
                rewound=command.rewound,
                repaired=command.repaired,
                settled=command.settled,
            )
        )
