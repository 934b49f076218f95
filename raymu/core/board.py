"""The state machine of a run: events in, commands out. It never waits, sends or locks."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from raymu.config import UnlearningConfig
from raymu.core.backlog import Backlog
from raymu.core.events import (
    Command,
    DamageFound,
    Event,
    GenerationEvaluated,
    GenerationPublished,
    PublishGeneration,
    RequestsPurged,
    RevocationsAccepted,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    UnlearningConfigured,
    WorkResumed,
)
from raymu.core.lineage import constituent
from raymu.core.planner import decisions_for
from raymu.core.publication import PublicationLedger
from raymu.core.records import Decision, OnAccept, Reference, Remedy, RepairReport, RepairShard, ShardLineage
from raymu.core.requests import Boundary, RevocationRequest, Strategy
from raymu.core.workload import ShardWorkload, shard_workload

MOST_REFERENCES = 8
"""How many other shards' models a calibration aims at; more cost time and barely move the mean."""

MOST_GENERATIONS = 16
"""How many generations a request, or a settlement, of every shard leads to, about: votes come back some by some."""


class RevocationBoard:
    """Routes requests to shards, batches those that wait for the same shard, and says what to publish and to destroy."""

    def __init__(
        self, *, config: UnlearningConfig, epochs: Sequence[int], workers: int, has_batch_norm: bool = False
    ) -> None:
        self._config, self._epochs, self._workers = config, tuple(epochs), workers
        self._has_batch_norm = has_batch_norm
        self._lineages: dict[int, ShardLineage] = {}
        self._backlog, self._ledger = Backlog(), PublicationLedger()
        self._to_settle: set[int] = set()
        self._settling: set[int] = set()  # at work, and asked to settle
        self._working: dict[int, RepairShard] = {}
        self._lost: dict[int, int] = {}  # shard -> first stage whose files are missing or changed
        self._patched: set[str] = set()  # requests that some shard only patched, settled or not

    def handle(self, event: Event) -> list[Command]:
        """Take in what happened and say what to do next. An event that was seen already changes nothing."""
        match event:
            case RunTrained(lineages=lineages):
                self._lineages = {lineage.shard: lineage for lineage in lineages}
                return [self._publish()]
            case RevocationsAccepted(requests=requests, is_part=is_part):
                return self._accept([one for one in requests if one.request_id not in self._backlog], is_part=is_part)
            case SettleRequested(shards=shards):
                self._to_settle.update(shard for shard in shards if self._lineages[shard].debts)
                return self._start(shards)
            case DamageFound(first_stages=first_stages):
                return self._lose(first_stages)
            case WorkResumed():
                return self._start(self._stalled)
            case ShardRepaired(report=report):
                return self._take_back(report)
            case ShardFailed(shard=shard, command_id=command_id):
                return self._give_up(shard, command_id)
            case GenerationPublished():
                self._ledger.published(event)
                self._ledger.is_rebuilding = bool(self._lost)
                return self._purge()
            case UnlearningConfigured(unlearning=unlearning):
                self._config = unlearning
                return []
            case RequestsPurged(request_ids=request_ids):
                self._ledger.purged(request_ids)
                self._backlog.drop(request_ids)
                return []
            case GenerationEvaluated():
                return []

    def outstanding(self) -> list[Command]:
        """The commands whose outcome is still awaited, for a coordinator that takes over after a replay.

        It starts nothing: what is at work must follow from the journal alone, so that takes an event.
        """
        publish: list[Command] = [self._publish()] if self._ledger.is_stale else []
        purge: list[Command] = [] if publish else self._purge()
        return [*publish, *purge, *self.at_work]

    @property
    def is_stalled(self) -> bool:
        """Whether a failure left a shard that has work and is not at it."""
        return bool(self._stalled)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is at work, waits, or is left to settle, to publish or to destroy."""
        return not (self._working or self._stalled) and self._ledger.is_clear

    @property
    def at_work(self) -> tuple[RepairShard, ...]:
        """The remedies that are being carried out."""
        return tuple(self._working.values())

    @property
    def lineages(self) -> tuple[ShardLineage, ...]:
        return tuple(self._lineages[shard] for shard in sorted(self._lineages))

    @property
    def open_requests(self) -> tuple[str, ...]:
        """Requests that are accepted but not repaired on every shard."""
        return self._backlog.unrepaired

    def workloads(self, request: RevocationRequest) -> list[ShardWorkload]:
        """What the remedies of a request would cost, each shard served for this request and those that it is not past."""
        return [
            self._workload(part.shard, self._backlog.touched(part.shard, self.pending(part.shard), request))
            for part in request.forget
        ]

    @property
    def owed(self) -> dict[str, frozenset[int]]:
        """What is not exact yet. returns: request -> the shards that are not past it, or have only patched it"""
        owed: dict[str, set[int]] = {}
        for shard, lineage in self._lineages.items():
            for request_id in (*self.pending(shard), *lineage.debts):
                owed.setdefault(request_id, set()).add(shard)
        return {request_id: frozenset(shards) for request_id, shards in owed.items()}

    def settlements(self) -> dict[int, ShardWorkload]:
        """What retraining each shard that owes something would cost, with all that it is not past."""
        owing = frozenset[int]().union(*self.owed.values())
        return {shard: self._workload(shard, self._backlog.touched(shard, self.pending(shard))) for shard in owing}

    def _accept(self, requests: Sequence[RevocationRequest], *, is_part: bool) -> list[Command]:
        touched = {shard for request in requests for shard in self._backlog.add(request)}
        is_rewinding = bool(requests) and OnAccept(self._config.on_accept) is not OnAccept.KEEP
        if is_rewinding:
            self._ledger.rewind(request.request_id for request in requests)
        if is_part:
            return []
        return [*([self._publish()] if is_rewinding else []), *self._start(touched)]

    def _lose(self, first_stages: Mapping[int, int]) -> list[Command]:
        """Serve what is sound, and train the rest again."""
        for shard, stage in first_stages.items():
            self._lost[shard] = min(stage, self._lost.get(shard, stage))
        self._ledger.is_rebuilding = True
        return [self._publish(), *self._start(first_stages)]

    def _take_back(self, report: RepairReport) -> list[Command]:
        command = self._working.get(report.shard)
        if command is None or command.command_id != report.command_id:
            return []
        before = self._lineages[report.shard]
        self._lineages[report.shard] = report.lineage
        self._end(report.shard)
        if report.remedy is Remedy.RETRAIN and command.earliest_slice <= self._lost.get(report.shard, -1):
            del self._lost[report.shard]
        repaired = self._backlog.repair(command.request_ids, report.shard)
        still_owed = {request_id for lineage in self._lineages.values() for request_id in lineage.debts}
        self._patched.update(report.lineage.debts)
        candidates = dict.fromkeys((*before.debts, *(one for one in repaired if one in self._patched)))
        settled = [one for one in candidates if one not in still_owed and self._backlog.is_repaired(one)]
        is_part = bool(command.request_ids) and not repaired
        self._ledger.repair(before, report, repaired=repaired, settled=settled, is_part=is_part)
        is_held_back = self._has_company if not command.request_ids else is_part and bool(self._working)
        # A generation names every shard: so many shards of one request, or settlement, come back to vote together.
        if is_held_back and self._ledger.unpublished * MOST_GENERATIONS < len(self._lineages):
            return [*self._start([report.shard]), *self._purge()]
        return [self._publish(), *self._start([report.shard])]

    @property
    def _has_company(self) -> bool:
        """Whether a shard at work is settled, or trained again after damage."""
        return bool(self._working.keys() & (self._settling | self._to_settle | self._lost.keys()))

    def _give_up(self, shard: int, command_id: str) -> list[Command]:
        """Its requests wait again. What others held back is published once nothing is left at work to wait for."""
        command = self._working.get(shard)
        if command is not None and command.command_id == command_id:
            self._backlog.put_back(shard, command.request_ids)
            self._end(shard)
        if self._ledger.unpublished and not self._working:
            return [self._publish()]
        return self._purge()

    def _end(self, shard: int) -> None:
        """A remedy is over; a shard that still owes what it was to settle has that before it again."""
        del self._working[shard]
        if not self._lineages[shard].debts:
            self._to_settle.discard(shard)
        elif shard in self._settling:
            self._to_settle.add(shard)
        self._settling.discard(shard)

    def _publish(self) -> PublishGeneration:
        on_accept = OnAccept(self._config.on_accept)
        constituents = tuple(
            constituent(
                lineage,
                pending_from=self._pending_from(lineage.shard),
                on_accept=on_accept,
                lost_from=self._lost.get(lineage.shard),
            )
            for lineage in self.lineages
        )
        return self._ledger.publish(constituents, self.lineages)

    def _purge(self) -> list[Command]:
        rows = self._backlog.samples(self._ledger.to_purge)
        return [*self._ledger.purge(self.lineages, self.at_work, rows=rows)]

    def pending(self, shard: int) -> list[str]:
        """The requests that a shard is not past yet."""
        working = self._working.get(shard)
        return [*(working.request_ids if working else ()), *self._backlog.waiting(shard)]

    def _pending_from(self, shard: int) -> int | None:
        return min(self._backlog.touched(shard, self.pending(shard)), default=None)

    def _workload(self, shard: int, touched: Mapping[int, int]) -> ShardWorkload:
        return shard_workload(
            self._lineages[shard],
            touched,
            epochs=self._epochs,
            config=self._config,
            references=[self._lineages[one.shard].samples for one in self._references(shard)],
            has_batch_norm=self._has_batch_norm,
            lost_from=self._lost.get(shard),
        )

    @property
    def _stalled(self) -> set[int]:
        """Shards that have work and are not at it."""
        return (self._backlog.shards | self._to_settle | self._lost.keys()) - self._working.keys()

    def _start(self, shards: Iterable[int]) -> list[Command]:
        """Start the remedies of idle shards that have work, the longest first."""
        ready = {shard: self._backlog.waiting(shard) for shard in sorted(self._stalled.intersection(shards))}
        workloads = {
            shard: self._workload(shard, self._backlog.touched(shard, waiting)) for shard, waiting in ready.items()
        }
        decisions = self._decide(workloads, ready)
        for shard, decision in decisions.items():
            self._backlog.take(shard)
            if shard in self._to_settle:
                self._to_settle.discard(shard)
                self._settling.add(shard)
            self._working[shard] = self._command(workloads[shard], ready[shard], decision)
        longest_first = sorted(decisions, key=lambda shard: (-decisions[shard].seconds, shard))
        return [self._working[shard] for shard in longest_first]

    def _decide(self, workloads: dict[int, ShardWorkload], ready: dict[int, list[str]]) -> dict[int, Decision]:
        requested: dict[tuple[Strategy, Boundary], set[int]] = {}
        for shard, request_ids in ready.items():
            for request_id in request_ids:
                request = self._backlog[request_id]
                requested.setdefault((request.strategy, request.boundary), set()).add(shard)
            if shard in self._to_settle or shard in self._lost:
                requested.setdefault((Strategy.SISA, Boundary.parse(1.0)), set()).add(shard)
        return decisions_for(
            list(workloads.values()),
            {asked: frozenset(shards) for asked, shards in requested.items()},
            workers=self._workers,
            ohs=self._config.ohs,
        )

    def _command(self, workload: ShardWorkload, request_ids: list[str], decision: Decision) -> RepairShard:
        lineage = self._lineages[workload.shard]
        identity = "/".join((lineage.serving.file.sha256, str(workload.earliest_slice), *request_ids))
        digest = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
        return RepairShard(
            command_id=f"repair-{workload.shard:04d}-{digest}",
            request_ids=tuple(request_ids),
            lineage=lineage,
            decision=decision,
            earliest_slice=workload.earliest_slice,
            references=self._references(workload.shard),
        )

    def _references(self, shard: int) -> tuple[Reference, ...]:
        """The next sound shards around the ring that have samples, those that no request waits for first."""
        others = [
            other
            for other in self._lineages
            if other != shard and other not in self._lost and self._lineages[other].samples
        ]
        others.sort(key=lambda other: (bool(self.pending(other)), (other - shard) % len(self._lineages)))
        return tuple(
            Reference(shard=other, checkpoint=self._lineages[other].serving, table=self._lineages[other].table)
            for other in others[:MOST_REFERENCES]
        )
