"""The state machine of a run: events in, commands out. It never waits, sends or locks."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Self

from raymu.config.unlearning import OnAccept, PublishConfig
from raymu.core.board.accepted_requests import AcceptedRequests
from raymu.core.board.group import NO_GROUP, WaitingGroup
from raymu.core.board.publication import Publication
from raymu.core.board.repair_planner import RepairPlanner
from raymu.core.board.serving import served_constituent
from raymu.core.board.shard_index import ShardIndex
from raymu.core.board.shard_work import ShardWork
from raymu.core.board.state import BoardState
from raymu.core.commands import (
    Command,
    PublishGeneration,
    RepairReport,
    RepairShard,
    ShardCommand,
    TrainShard,
)
from raymu.core.events import (
    DamageFound,
    Event,
    GenerationEvaluated,
    GenerationPublished,
    GroupReleased,
    RequestsPurged,
    RevocationsAccepted,
    RunExtended,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    UnlearningConfigured,
    WorkResumed,
)
from raymu.core.records import Constituent, FileRef, SampleFiles, ShardLineage
from raymu.core.remedies import REMEDIES
from raymu.core.repair_speed import RepairSpeeds
from raymu.core.requests import RevocationRequest, touched_slices
from raymu.core.run_shape import RunShape
from raymu.core.workload import ShardWorkload


class RevocationBoard:
    """Assigns requests to shards, and commands repairs, generations and purges.

    Requests that wait for the same shard share its repair.
    """

    def __init__(
        self,
        shape: RunShape,
        *,
        workers: int,
        tables: Sequence[FileRef] = (),
        indexes: Sequence[FileRef | None] = (),
        speeds: RepairSpeeds | None = None,
    ) -> None:
        """Begin with a run that is not trained yet.

        Args:
            shape: The epochs of the run's stages and its settings of unlearning, until an event changes these.
            workers: Number of shards that are repaired side by side.
            tables: The samples of each shard to train. Empty for states that another run trained.
            indexes: The index of each of these tables. Empty for tables of version 0.1.
            speeds: What earlier repairs have shown of the speed of each remedy; nothing by default.
        """
        self._shape, self._workers, self._tables = shape, workers, tuple(tables)
        self._indexes = tuple(indexes) or (None,) * len(self._tables)
        self._routes: list[tuple[FileRef, ...] | None] = []
        self._shards: list[ShardWork] = []
        self._index = ShardIndex(self._shards)
        self._requests = AcceptedRequests()
        self._publication = Publication()
        self._group = NO_GROUP
        self._extensions: list[int] = []
        self.speeds = speeds or RepairSpeeds()
        """What the repairs so far have shown of the speed of each remedy."""

    @classmethod
    def replayed(
        cls,
        events: Iterable[Event],
        shape: RunShape,
        *,
        workers: int,
        tables: Sequence[FileRef] = (),
        indexes: Sequence[FileRef | None] = (),
        speeds: RepairSpeeds | None = None,
    ) -> Self:
        """Rebuild a board from the events of a journal, without carrying out any command."""
        board = cls(shape, workers=workers, tables=tables, indexes=indexes, speeds=speeds)
        for event in events:
            board.handle(event)
        return board

    @classmethod
    def restored(
        cls,
        state: BoardState,
        *,
        workers: int,
        tables: Sequence[FileRef] = (),
        indexes: Sequence[FileRef | None] = (),
    ) -> Self:
        """Rebuild a board from a saved state. It goes on as the one that was saved.

        Args:
            state: The state.
            workers: Number of shards that are repaired side by side.
            tables: The samples of each shard to train, as in the constructor.
            indexes: Their indexes, as there.
        """
        board = cls(state.shape, workers=workers, tables=tables, indexes=indexes, speeds=state.speeds)
        board._requests = AcceptedRequests.restored(state.requests, unrepaired=state.unrepaired, patched=state.patched)
        board._group = state.group
        board._put_shards(replace(work, waiting=[*work.waiting]) for work in state.shards)
        board._publication = Publication.restored(state.publication, board.lineages)
        board._extensions, board._routes = [*state.extensions], [*state.routes]
        return board

    def state(self) -> BoardState:
        """Return everything that the board knows, as a record to save."""
        return BoardState(
            shape=self._shape,
            shards=tuple(replace(work, waiting=[*work.waiting]) for work in self._shards),
            requests=tuple(self._requests.by_id.values()),
            unrepaired={request_id: tuple(sorted(shards)) for request_id, shards in self._requests.unrepaired.items()},
            patched=tuple(sorted(self._requests.patched)),
            publication=self._publication.state(self.lineages),
            extensions=self.extensions,
            routes=self.added_routes,
            speeds=self.speeds,
            group=self._group,
        )

    def handle(self, event: Event) -> list[Command]:
        """Apply an event and return the commands that follow.

        Each event of the journal is handled once. A report of a repair that has ended changes nothing.
        """
        match event:
            case RunTrained(lineages=lineages):
                self._put_shards(ShardWork(lineage=each) for each in sorted(lineages, key=lambda each: each.shard))
                for epochs in {lineage.added_epochs for lineage in lineages}:  # states of another run may have some
                    self._shape = self._shape.extended(epochs)
                return [self._publish()]
            case RunExtended():
                return self._extend(event)
            case RevocationsAccepted(requests=requests, is_part=is_part):
                return self._accept(requests, is_part=is_part)
            case SettleRequested(shards=shards, anew=anew):
                for shard in shards:
                    self._shards[shard].must_settle |= bool(self._shards[shard].lineage.debts)
                    self._index.note(shard)
                for shard in anew:
                    self._shards[shard].restart()
                    self._index.note(shard)
                return self._start((*shards, *anew))
            case DamageFound(first_stages=first_stages):
                for shard, stage in first_stages.items():
                    self._shards[shard].lose_from(stage)
                    self._index.note(shard)
                self._publication.is_rebuilding = True
                return [self._publish(), *self._start(first_stages)]
            case WorkResumed():
                return self._start(self.idle_with_work)
            case ShardRepaired(report=report):
                return self._finish(report, event.at)
            case GroupReleased():
                return [self._release()] if self._group.shards else []
            case ShardFailed(shard=shard, command_id=command_id):
                return self._fail(shard, command_id)
            case GenerationPublished():
                self._publish()  # as it was ordered, with all events that were committed together
                self._publication.record_published(event)
                self._publication.is_rebuilding = bool(self._index.lost)
                self._publication.is_extending = bool(self._index.untrained)
                return self._purge()
            case UnlearningConfigured(unlearning=unlearning):
                self._shape = replace(self._shape, unlearning=unlearning)
                self._index.changed |= self._index.awaited  # what they serve depends on the settings
                return [self._release()] if self._group.is_ready(unlearning.publish, event.at) else []
            case RequestsPurged(request_ids=request_ids):
                self._publication.record_purged(request_ids)
                self._requests.purge(request_ids)
                return []
            case GenerationEvaluated():
                return []

    def handle_together(self, events: Sequence[Event]) -> list[Command]:
        """Apply events that were committed together, and return the commands that follow from all of them.

        They share one generation, which comes first, and one purge, if none is published before it.
        """
        commands = [command for event in events for command in self.handle(event)]
        if len(events) == 1:
            return commands
        starts: list[Command] = [command for command in commands if isinstance(command, ShardCommand)]
        if self._publication.is_stale and any(isinstance(command, PublishGeneration) for command in commands):
            return [self._publish(), *starts]
        return [*starts, *self._purge()]

    def may_wait(self, reports: Sequence[RepairReport]) -> bool:
        """Return whether the results of repairs can wait to be recorded together with that of another one, which is running.

        Recording them would neither publish a generation, nor purge, nor start a repair.
        """
        ended = {report.shard for report in reports}
        if self._publication.has_doomed or not self._publication.may_defer(
            shards=len(self._shards), further=len(ended)
        ):
            return False
        # A large request has one repair a shard, and this is asked at the end of each: whatever they share is looked at once.
        works = [
            work
            for report in reports
            if (work := self._shards[report.shard]).repair is not None and work.repair.command_id == report.command_id
        ]
        if any(work.waiting or work.must_settle or work.must_restart for work in works):
            return False
        repaired = {work.repair.request_ids for work in works if work.repair is not None}
        if () in repaired and self._index.retraining <= ended:
            return False
        requests = {request_id for request_ids in repaired for request_id in request_ids}
        if requests and self._index.running.keys() <= ended:
            return False
        return not any(self._requests.unrepaired[request_id] <= ended for request_id in requests)

    def pending_commands(self) -> list[Command]:
        """Return the commands that are not done, for a coordinator that takes over after a replay.

        The journal must show which repairs are running, so only an event starts one.
        """
        publish: list[Command] = [self._publish()] if self._publication.is_stale else []
        purge: list[Command] = [] if publish else self._purge()
        return [*publish, *purge, *self.training, *self._planner.by_urgency(self.repairs)]

    @property
    def training(self) -> tuple[TrainShard, ...]:
        """The training of every shard, until the run is trained. It follows from the run alone, without an event."""
        tables = () if self._shards else self._tables
        return tuple(
            TrainShard(shard=shard, table=table, index=index)
            for shard, (table, index) in enumerate(zip(tables, self._indexes, strict=False))
        )

    @property
    def awaited(self) -> tuple[ShardCommand, ...]:
        """The commands of shards whose reports are awaited."""
        return (*self.training, *self.repairs)

    @property
    def repairs(self) -> tuple[RepairShard, ...]:
        """The repairs that the journal shows as begun and not ended, by shard."""
        running = self._index.running
        return tuple(running[shard] for shard in sorted(running))

    @property
    def idle_with_work(self) -> set[int]:
        """The shards that have work and are not being repaired."""
        return set(self._index.idle_with_work)

    @property
    def is_idle(self) -> bool:
        """Whether no work runs or waits, and nothing is left to publish or destroy.

        Patched shards may still owe a retraining.
        """
        is_working = self._index.running or self._index.idle_with_work or self.training
        return not is_working and self._publication.is_clear

    @property
    def is_rebuilding(self) -> bool:
        """Whether files are lost, or their replacements are not published yet."""
        return self._publication.is_rebuilding

    @property
    def is_extending(self) -> bool:
        """Whether slices were added, and not all of their stages are trained and published yet."""
        return self._publication.is_extending

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each stage, those of added slices included."""
        return self._shape.epochs

    @property
    def extensions(self) -> tuple[int, ...]:
        """The number of slices that each extension added, in their order."""
        return tuple(self._extensions)

    @property
    def lost_stages(self) -> dict[int, int]:
        """The first stage of each shard whose files are recorded as lost, and not trained again yet: shard -> stage."""
        return dict(self._index.lost)

    @property
    def restarting(self) -> frozenset[int]:
        """The inconclusive shards that are trained from their first stage, or wait for it."""
        return frozenset(self._index.restarting)

    @property
    def lineages(self) -> tuple[ShardLineage, ...]:
        """The lineage of each shard; empty before training."""
        return self._index.lineages

    @property
    def tables(self) -> tuple[FileRef, ...]:
        """The current samples of each shard."""
        return tuple(work.lineage.table for work in self._shards) or self._tables

    @property
    def indexes(self) -> tuple[FileRef | None, ...]:
        """The index of the current samples of each shard; None for a table of version 0.1."""
        return tuple(work.lineage.index for work in self._shards) or self._indexes

    @property
    def added_routes(self) -> tuple[tuple[FileRef, ...] | None, ...]:
        """The routes to the samples of each extension; None for one by an earlier version."""
        return tuple(self._routes)

    def samples_of(self, shard: int) -> SampleFiles:
        """Return the current samples of a shard."""
        if self._shards:
            return self._shards[shard].lineage.sample_files
        return SampleFiles(table=self._tables[shard], index=self._indexes[shard])

    @property
    def published_command(self) -> PublishGeneration | None:
        """The command that the published generation follows from; None before the first."""
        return self._publication.published_command

    @property
    def open_requests(self) -> tuple[str, ...]:
        """Requests that are accepted but not repaired on every shard."""
        return tuple(self._requests.unrepaired)

    @property
    def unpurged(self) -> dict[str, RevocationRequest]:
        """The accepted requests that are not purged, by their ids."""
        return dict(self._requests.by_id)

    @property
    def owed(self) -> dict[str, frozenset[int]]:
        """For each request that is not exact yet, the shards that are not repaired for it or have only patched it."""
        return self._requests.owed(self._index.debts)

    @property
    def group(self) -> WaitingGroup:
        """The repaired states that wait to become visible together, and the requests that they are repaired for."""
        return self._group

    @property
    def publish(self) -> PublishConfig | None:
        """When repaired states become visible; None for each at once."""
        return self._shape.unlearning.publish

    @property
    def group_due_at(self) -> datetime | None:
        """When the waiting group becomes visible, however small it is; None if nothing waits."""
        return self._group.due_at(self.publish)

    @property
    def keeps_states(self) -> bool:
        """Whether shards serve their states while requests wait for them, as the run is configured to."""
        return self._shape.unlearning.on_accept is OnAccept.KEEP

    @property
    def awaited_shards(self) -> frozenset[int]:
        """The shards that a request waits for."""
        return frozenset(self._index.awaited)

    def pending_requests(self, shard: int) -> list[str]:
        """Return the requests that a shard is not repaired for."""
        return self._shards[shard].pending

    def workloads(self, request: RevocationRequest) -> list[ShardWorkload]:
        """Predict the remedies of a request, each shard repaired for it together with all pending requests."""
        planner = self._planner
        return [planner.workload(part.shard, [*self._pending(part.shard), request]) for part in request.forget]

    def settle_workloads(self) -> dict[int, ShardWorkload]:
        """Predict the retraining of each shard that owes something, together with all pending requests."""
        owing = frozenset[int]().union(*self.owed.values())
        planner = self._planner
        return {shard: planner.workload(shard, self._pending(shard)) for shard in owing}

    def _put_shards(self, shards: Iterable[ShardWork]) -> None:
        self._shards = [*shards]
        self._index = ShardIndex(self._shards)

    def _extend(self, event: RunExtended) -> list[Command]:
        """Add slices to every shard, and train their stages. No repair is running, for its result would lack them."""
        assert not self.repairs, "a repair reads the tables that an extension replaces"
        indexes = event.indexes or (None,) * len(event.tables)
        added = zip(event.tables, indexes, event.slice_samples, strict=True)
        for shard, (table, index, counts) in enumerate(added):
            work, before = self._shards[shard], self._shards[shard].lineage
            work.lineage = before.extended(table=table, index=index, slice_samples=counts, epochs=event.epochs)
            self._index.note(shard)
            self._publication.supersede(before, work.lineage)
        self._shape = self._shape.extended(event.epochs)
        self._extensions.append(len(event.epochs))
        self._routes.append(event.routes)
        self._publication.is_extending = True
        return [self._publish(), *self._start(range(len(self._shards)))]

    def _accept(self, requests: Sequence[RevocationRequest], *, is_part: bool) -> list[Command]:
        new = [request for request in requests if request.request_id not in self._requests.by_id]
        touched = {shard for request in new for shard in self._enqueue(request)}
        is_rewinding = bool(new) and self._shape.unlearning.on_accept is not OnAccept.KEEP
        if is_rewinding:
            self._publication.add_rewound(request.request_id for request in new)
        if is_part:
            return []
        return [*([self._publish()] if is_rewinding else []), *self._start(touched)]

    def _enqueue(self, request: RevocationRequest) -> set[int]:
        """Let a request wait for each shard that it touches, and return these."""
        shards = self._requests.add(request)
        for shard in shards:
            self._shards[shard].waiting.append(request.request_id)
            self._index.note(shard)
        return shards

    def _finish(self, report: RepairReport, at: datetime) -> list[Command]:
        work = self._shards[report.shard]
        command, before = work.repair, work.lineage
        if command is None or command.command_id != report.command_id:
            return []
        self._learn(report)
        is_exact = REMEDIES[report.remedy].is_exact
        work.finish(report.lineage, retrained_from=command.earliest_slice if is_exact else None)
        self._index.note(report.shard)
        self._requests.patched.update(report.lineage.debts)
        repaired = self._requests.note_repaired(command.request_ids, report.shard)
        patched = [each for each in repaired if each in self._requests.patched]
        settled = self._requests.settled([*before.debts, *patched], self._index.debts.keys())
        leaves_other_shards = bool(command.request_ids) and not repaired
        self._publication.add_repair(
            before, report, repaired=repaired, settled=settled, leaves_other_shards=leaves_other_shards
        )
        self._hold(command, before, repaired, at)
        if self._group.is_ready(self._shape.unlearning.publish, at):
            return [self._release(), *self._start([report.shard])]
        may_share = self._may_share_generation(command, leaves_other_shards=leaves_other_shards)
        if may_share and self._publication.may_defer(shards=len(self._shards)):
            return [*self._start([report.shard]), *self._purge()]
        return [self._publish(), *self._start([report.shard])]

    def _hold(self, command: RepairShard, before: ShardLineage, repaired: Sequence[str], at: datetime) -> None:
        """Let a shard that was rewound for requests stay so until their group is visible, if results are grouped.

        Args:
            command: The repair that has ended.
            before: The shard before it.
            repaired: The requests that every shard is repaired for, now that this one is.
            at: When it ended.
        """
        if self._shape.unlearning.publish is None or not command.request_ids:
            return
        was_rewound = command.earliest_slice < before.trained_slices  # else its state had not seen the samples
        if was_rewound:
            self._group = self._group.with_shard(command.shard, command.earliest_slice, at=at)
        self._group = self._group.with_requests(self._requests.of(repaired))

    def _release(self) -> PublishGeneration:
        """Let all shards that wait for their group serve what they have been repaired to."""
        self._index.changed.update(self._group.shards)
        self._group, self._publication.is_releasing = NO_GROUP, True
        return self._publish()

    def _learn(self, report: RepairReport) -> None:
        """Compare the seconds of a repair with its effort, if it was carried out as planned."""
        planned, work = report.planned, self._shards[report.shard]
        if planned.remedy is report.remedy:
            effort = work.efforts[report.remedy]
            self.speeds = self.speeds.after(
                report.remedy,
                effort,
                replace(effort, passes_s=report.passes * work.lineage.seconds_per_pass),
                seconds=report.seconds,
                forecast_seconds=planned.seconds,
                determinism=report.determinism,
            )

    def _may_share_generation(self, command: RepairShard, *, leaves_other_shards: bool) -> bool:
        """Whether another repair is under way whose generation can carry this result too.

        A repair for requests can wait for any repair while other shards of its requests are left. A settlement or a
        rebuild can wait for another one.
        """
        if command.request_ids:
            return leaves_other_shards and bool(self._index.running)
        return bool(self._index.retraining)

    def _fail(self, shard: int, command_id: str) -> list[Command]:
        """Let the requests of a failed repair wait again.

        If no other repair is running, a result that was deferred until this one ended is published.
        """
        work = self._shards[shard]
        if work.repair and work.repair.command_id == command_id:
            work.fail()
            self._index.note(shard)
        if self._publication.unpublished and not self._index.running:
            return [self._publish()]
        return self._purge()

    def _publish(self) -> PublishGeneration:
        """Order a generation. Only shards that changed since the last order are looked at."""
        changes = {shard: self._constituent(shard) for shard in self._index.changed}
        self._index.changed.clear()
        return self._publication.publish(changes, self.lineages)

    def _constituent(self, shard: int) -> Constituent:
        work = self._shards[shard]
        waits_from = self._group.shards.get(shard)
        return served_constituent(
            work.lineage,
            pending_from=min(
                [*touched_slices(self._pending(shard), shard), *([] if waits_from is None else [waits_from])],
                default=None,
            ),
            on_accept=self._shape.unlearning.on_accept,
            lost_from=work.lost_from,
        )

    def _purge(self) -> list[Command]:
        rows = sum(request.samples for request in self._requests.of(self._publication.to_purge))
        return [*self._publication.purge(self._index, rows=rows)]

    def _start(self, shards: Iterable[int]) -> list[Command]:
        """Start the repairs of those shards that are idle and have work, those of overdue requests first."""
        planner = self._planner
        repairs = planner.plan(shards)
        for command, workload in repairs:
            self._shards[command.shard].start(command, workload.efforts)
            self._index.note(command.shard)
        return [*planner.by_urgency(command for command, _ in repairs)]

    @property
    def _planner(self) -> RepairPlanner:
        return RepairPlanner(
            shards=self._shards,
            index=self._index,
            requests=self._requests,
            shape=self._shape,
            speeds=self.speeds,
            workers=self._workers,
        )

    def _pending(self, shard: int) -> list[RevocationRequest]:
        return self._requests.of(self._shards[shard].pending)
