"""The state machine of a run: events in, commands out. It never waits, sends or locks."""

from collections.abc import Iterable, Mapping, Sequence

from raymu.config import UnlearningConfig
from raymu.core.board.publication import Publication
from raymu.core.board.serving import constituent
from raymu.core.board.shard_work import Backlog, Worklist, repair_command
from raymu.core.commands import CalibrationReference, Command, Decision, PublishGeneration, RepairReport, RepairShard
from raymu.core.events import (
    DamageFound,
    Event,
    GenerationEvaluated,
    GenerationPublished,
    RequestsPurged,
    RevocationsAccepted,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    UnlearningConfigured,
    WorkResumed,
)
from raymu.core.planner import calibration_references, decide_repairs
from raymu.core.records import OnAccept, Remedy, ShardLineage
from raymu.core.requests import Boundary, RevocationRequest, Strategy
from raymu.core.workload import ShardWorkload, shard_workload


class RevocationBoard:
    """Routes requests to shards, batches those that wait for the same shard, and says what to publish and to destroy."""

    def __init__(
        self, *, config: UnlearningConfig, epochs: Sequence[int], workers: int, has_batch_norm: bool = False
    ) -> None:
        self._config, self._epochs, self._workers = config, tuple(epochs), workers
        self._has_batch_norm = has_batch_norm
        self._lineages: dict[int, ShardLineage] = {}
        self._backlog, self._ledger = Backlog(), Publication()
        self._worklist = Worklist()
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
                self._worklist.settle(shard for shard in shards if self._lineages[shard].debts)
                return self._start(shards)
            case DamageFound(first_stages=first_stages):
                return self._lose(first_stages)
            case WorkResumed():
                return self._start(self.stalled)
            case ShardRepaired(report=report):
                return self._take_back(report)
            case ShardFailed(shard=shard, command_id=command_id):
                return self._give_up(shard, command_id)
            case GenerationPublished():
                self._ledger.published(event)
                self._ledger.is_rebuilding = self._worklist.has_lost
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
    def stalled(self) -> set[int]:
        """The shards that have work and are not at it."""
        return (self._backlog.shards | self._worklist.to_retrain.keys()) - self._worklist.working

    @property
    def is_idle(self) -> bool:
        """Whether nothing is at work, waits, or is left to settle, to publish or to destroy."""
        return not (self.at_work or self.stalled) and self._ledger.is_clear

    @property
    def is_rebuilding(self) -> bool:
        """Whether files are lost, or a generation with them made good is not published yet."""
        return self._ledger.is_rebuilding

    @property
    def at_work(self) -> tuple[RepairShard, ...]:
        """The remedies that are being carried out."""
        return self._worklist.at_work

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
        self._worklist.lose(first_stages)
        self._ledger.is_rebuilding = True
        return [self._publish(), *self._start(first_stages)]

    def _take_back(self, report: RepairReport) -> list[Command]:
        command = self._worklist.find(report.shard, report.command_id)
        if command is None:
            return []
        before = self._lineages[report.shard]
        self._lineages[report.shard] = report.lineage
        self._worklist.end(report.shard, is_owing=bool(report.lineage.debts))
        if report.remedy is Remedy.RETRAIN:
            self._worklist.rebuild(report.shard, command.earliest_slice)
        repaired = self._backlog.repair(command.request_ids, report.shard)
        still_owed = {request_id for lineage in self._lineages.values() for request_id in lineage.debts}
        self._patched.update(report.lineage.debts)
        candidates = dict.fromkeys((*before.debts, *(one for one in repaired if one in self._patched)))
        settled = [one for one in candidates if one not in still_owed and self._backlog.is_repaired(one)]
        is_part = bool(command.request_ids) and not repaired
        self._ledger.repair(before, report, repaired=repaired, settled=settled, is_part=is_part)
        has_company = (is_part and bool(self.at_work)) if command.request_ids else self._worklist.has_company
        if has_company and self._ledger.can_wait(shards=len(self._lineages)):
            return [*self._start([report.shard]), *self._purge()]
        return [self._publish(), *self._start([report.shard])]

    def _give_up(self, shard: int, command_id: str) -> list[Command]:
        """Its requests wait again. What others held back is published once nothing is left at work to wait for."""
        if command := self._worklist.find(shard, command_id):
            self._backlog.put_back(shard, command.request_ids)
            self._worklist.end(shard, is_owing=bool(self._lineages[shard].debts))
        if self._ledger.unpublished and not self.at_work:
            return [self._publish()]
        return self._purge()

    def _publish(self) -> PublishGeneration:
        on_accept = OnAccept(self._config.on_accept)
        constituents = tuple(
            constituent(
                lineage,
                pending_from=min(self._backlog.touched(lineage.shard, self.pending(lineage.shard)), default=None),
                on_accept=on_accept,
                lost_from=self._worklist.lost_from(lineage.shard),
            )
            for lineage in self.lineages
        )
        return self._ledger.publish(constituents, self.lineages)

    def _purge(self) -> list[Command]:
        rows = self._backlog.samples(self._ledger.to_purge)
        return [*self._ledger.purge(self.lineages, self.at_work, rows=rows)]

    def pending(self, shard: int) -> list[str]:
        """The requests that a shard is not past yet."""
        return [*self._worklist.request_ids(shard), *self._backlog.waiting(shard)]

    def _workload(self, shard: int, touched: Mapping[int, int]) -> ShardWorkload:
        return shard_workload(
            self._lineages[shard],
            touched,
            epochs=self._epochs,
            config=self._config,
            references=[self._lineages[one.shard].samples for one in self._references(shard)],
            has_batch_norm=self._has_batch_norm,
            lost_from=self._worklist.lost_from(shard),
        )

    def _start(self, shards: Iterable[int]) -> list[Command]:
        """Start the remedies of idle shards that have work, the longest first."""
        ready = {shard: self._backlog.waiting(shard) for shard in sorted(self.stalled.intersection(shards))}
        workloads = {
            shard: self._workload(shard, self._backlog.touched(shard, waiting)) for shard, waiting in ready.items()
        }
        decisions = self._decide(workloads, ready)
        for shard, decision in decisions.items():
            self._backlog.take(shard)
            self._worklist.begin(
                repair_command(
                    self._lineages[shard], workloads[shard], decision, ready[shard], references=self._references(shard)
                )
            )
        begun = [one for one in self.at_work if one.shard in decisions]
        return [*sorted(begun, key=lambda one: (-one.decision.seconds, one.shard))]

    def _decide(self, workloads: dict[int, ShardWorkload], ready: dict[int, list[str]]) -> dict[int, Decision]:
        requested: dict[tuple[Strategy, Boundary], set[int]] = {}
        for shard, request_ids in ready.items():
            for request_id in request_ids:
                request = self._backlog[request_id]
                requested.setdefault((request.strategy, request.boundary), set()).add(shard)
        return decide_repairs(
            list(workloads.values()),
            {asked: frozenset(shards) for asked, shards in requested.items()},
            self._worklist.to_retrain,
            workers=self._workers,
            ohs=self._config.ohs,
        )

    def _references(self, shard: int) -> tuple[CalibrationReference, ...]:
        sound = [one for one in self._lineages.values() if self._worklist.lost_from(one.shard) is None]
        return calibration_references(
            shard, sound, shards=len(self._lineages), is_awaited=lambda one: bool(self.pending(one))
        )
