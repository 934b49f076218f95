"""A trace replayed in simulated time: the run's own board, and remedies that are foreseen, or really carried out."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from raymu.config import UnlearningConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import Command, PublishGeneration, Purge, RepairReport, RepairShard
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, RunTrained, ShardRepaired
from raymu.core.partition import Positions
from raymu.core.planning.simulated_shard import SimulatedRepairs
from raymu.core.planning.trace import RevocableSamples, Trace
from raymu.core.records import Exactness, FileRef, ShardLineage
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.core.run_shape import RunShape
from raymu.core.workload import settle_passes


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestTimes:
    """Seconds from the start of the trace. repaired_s: when the last shard was past the request"""

    arrived_s: float
    accepted_s: float
    repaired_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationSummary:
    """requests: in the trace's order; compute_seconds: of all shards together"""

    requests: tuple[RequestTimes, ...]
    shard_passes: tuple[float, ...]
    """Of the remedies of each shard."""
    remedies: int
    passes: float
    compute_seconds: float
    makespan_s: float
    """From the first request's arrival until the last is repaired."""
    p50_s: float
    """Median time from a request's arrival until it is repaired."""
    p95_s: float
    approximate_share: float
    """Of the states that remedies left, those that are only patched."""
    debt_shards: int
    """Shards that settling would retrain at the end, and the sample passes that it would take."""
    debt_passes: int


def summarize(
    requests: Sequence[RequestTimes],
    reports: Sequence[RepairReport],
    lineages: Sequence[ShardLineage],
    *,
    epochs: Sequence[int],
) -> SimulationSummary:
    """Sum a trace up. requests: at least one; reports: of all remedies; lineages: of each shard, as they are at the end"""
    waits = [one.repaired_s - one.arrived_s for one in requests]
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
        makespan_s=max(one.repaired_s for one in requests) - min(one.arrived_s for one in requests),
        p50_s=float(np.quantile(waits, 0.5)),
        p95_s=float(np.quantile(waits, 0.95)),
        approximate_share=patched / len(reports),
        debt_shards=sum(lineage.tainted_from is not None for lineage in lineages),
        debt_passes=settle_passes(lineages, epochs),
    )


_START = datetime(1970, 1, 1, tzinfo=UTC)


class RepairExecutor(Protocol):
    """Does what the board asks for. A report's seconds are how long the simulated clock has it take."""

    def carry_out(self, command: RepairShard, accepted: Mapping[str, RevocationRequest]) -> RepairReport:
        """accepted: every request until now, by its place in the trace"""
        ...

    def destroy(self, files: Collection[FileRef]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationResult:
    """What came of a trace, and the shards as they are at the end."""

    outcome: SimulationSummary
    lineages: tuple[ShardLineage, ...]


def simulate(
    trace: Trace,
    population: RevocableSamples,
    lineages: Sequence[ShardLineage],
    *,
    shape: RunShape,
    workers: int,
    window_s: float = 0.0,
    remedies: RepairExecutor | None = None,
    on_batch: Callable[[int, float, tuple[ShardLineage, ...]], None] = lambda _accepted, _passes, _lineages: None,
) -> SimulationResult:
    """What a run would do about a trace, and when. Its strategy and boundary are the configuration's.

    lineages: of each shard, as the run has them; population: the samples that they hold
    workers: shards that are repaired side by side; window_s: see Trace.batches
    remedies: what carries them out, in the simulated order; foreseen where not given
    on_batch: told how many requests are accepted, and the passes of all remedies done and the shards until then
    Raises TraceInvalid.
    """
    training = (
        RunTrained(at=_START, lineages=tuple(lineages), workers=workers),
        GenerationPublished(at=_START, number=1, manifest_sha256=""),
    )
    board = RevocationBoard.replayed(training, shape, workers=workers)
    requests = _requests(trace, population, shape.unlearning)
    course = _Simulator(board, remedies or SimulatedRepairs(), workers=workers)
    accepted_s: dict[str, float] = {}
    for batch in trace.batches(window_s):
        names = [str(position) for position in batch.positions]
        course.accept({name: requests[name] for name in names}, at_s=batch.at_s)
        accepted_s.update(dict.fromkeys(names, batch.at_s))
        on_batch(len(accepted_s), sum(report.passes for report in course.reports), board.lineages)
    course.finish()
    times = [
        RequestTimes(arrived_s=one.at_s, accepted_s=accepted_s[name], repaired_s=course.repaired_s[name])
        for name, one in zip(requests, trace.requests, strict=True)
    ]
    outcome = summarize(times, course.reports, board.lineages, epochs=shape.epochs)
    return SimulationResult(outcome=outcome, lineages=board.lineages)


def _requests(trace: Trace, population: RevocableSamples, config: UnlearningConfig) -> dict[str, RevocationRequest]:
    """The trace as the board takes it: place in the trace -> request."""
    return {
        str(place): RevocationRequest(
            request_id=str(place),
            payload_sha256="",
            strategy=config.strategy,
            boundary=config.boundary,
            received_at=_time(traced.at_s),
            due_at=_time(traced.at_s),
            forget=_forget(population, rows),
            hashes=(),
        )
        for place, (traced, rows) in enumerate(zip(trace.requests, population.rows_of(trace), strict=True))
    }


def _forget(population: RevocableSamples, rows: Positions) -> tuple[ForgetSet, ...]:
    by_shard: dict[int, Counter[int]] = {}
    for shard, position in zip(population.shards[rows].tolist(), population.slices[rows].tolist(), strict=True):
        by_shard.setdefault(shard, Counter())[position] += 1
    return tuple(ForgetSet(shard=shard, samples_by_slice=dict(by_shard[shard])) for shard in sorted(by_shard))


def _time(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


class _Simulator:
    """A coordinator and its fleet, on a clock that jumps from one event to the next."""

    def __init__(self, board: RevocationBoard, remedies: RepairExecutor, *, workers: int) -> None:
        self._board, self._remedies = board, remedies
        self._accepted: dict[str, RevocationRequest] = {}
        self._now_s, self._generation, self._begun = 0.0, 1, 0
        self._idle = workers
        self._queue: deque[RepairShard] = deque()
        self._working: list[tuple[float, int, RepairReport]] = []  # a heap of ends, the first begun first
        self.repaired_s: dict[str, float] = {}
        self.reports: list[RepairReport] = []

    def accept(self, requests: Mapping[str, RevocationRequest], *, at_s: float) -> None:
        while self._working and self._working[0][0] <= at_s:
            self._end_next()
        self._now_s = at_s
        self._accepted |= requests
        together = tuple(requests.values())
        self._happen(RevocationsAccepted(at=_time(at_s), requests=together, generation=self._generation))

    def finish(self) -> None:
        while self._working:
            self._end_next()

    def _end_next(self) -> None:
        self._now_s, _, report = heapq.heappop(self._working)
        self._idle += 1
        self.reports.append(report)
        self._happen(ShardRepaired(at=_time(self._now_s), report=report))

    def _happen(self, event: Event) -> None:
        for command in self._board.handle(event):
            self._obey(command)
        while self._idle and self._queue:
            self._begin(self._queue.popleft())

    def _obey(self, command: Command) -> None:
        match command:
            case RepairShard():
                self._queue.append(command)
            case PublishGeneration():
                self._publish(command)
            case Purge():
                files = tuple(command.files)
                self._remedies.destroy(files)
                at = _time(self._now_s)
                self._happen(RequestsPurged(at=at, request_ids=command.request_ids, files=files, rows=command.rows))

    def _begin(self, command: RepairShard) -> None:
        report = self._remedies.carry_out(command, self._accepted)
        self._idle -= 1
        self._begun += 1
        heapq.heappush(self._working, (self._now_s + report.seconds, self._begun, report))

    def _publish(self, command: PublishGeneration) -> None:
        self._generation += 1
        self.repaired_s.update(dict.fromkeys(command.repaired, self._now_s))
        self._happen(
            GenerationPublished(
                at=_time(self._now_s),
                number=self._generation,
                manifest_sha256="",
                rewound=command.rewound,
                repaired=command.repaired,
                settled=command.settled,
            )
        )
