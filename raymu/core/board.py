"""The state machine of a run: events in, commands out. It never waits, sends or locks."""

import hashlib
from collections.abc import Iterable, Sequence

from raymu.config import UnlearningConfig
from raymu.core.events import (
    Command,
    Event,
    GenerationPublished,
    PublishGeneration,
    Purge,
    RequestsPurged,
    RevocationsAccepted,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    WorkResumed,
)
from raymu.core.lineage import constituent
from raymu.core.planner import decisions_for
from raymu.core.records import (
    Boundary,
    Decision,
    FileRef,
    OnAccept,
    Reference,
    RepairReport,
    RepairShard,
    RevocationRequest,
    ShardLineage,
    Strategy,
)
from raymu.core.workload import ShardWorkload, shard_workload

MOST_REFERENCES = 8
"""How many other shards' models a calibration aims at; more cost time and barely move the mean."""


class RevocationBoard:
    """Routes requests to shards, batches those that wait for the same shard, and says what to publish and to destroy."""

    def __init__(self, *, config: UnlearningConfig, epochs: Sequence[int], workers: int) -> None:
        self._config, self._epochs, self._workers = config, tuple(epochs), workers
        self._lineages: dict[int, ShardLineage] = {}
        self._requests: dict[str, RevocationRequest] = {}  # accepted, not yet purged
        self._waiting: dict[int, list[str]] = {}  # by shard, in order of arrival
        self._to_settle: set[int] = set()
        self._settling: set[int] = set()  # at work, and asked to settle
        self._working: dict[int, RepairShard] = {}
        self._unrepaired: dict[str, set[int]] = {}  # by request, the shards still to be repaired
        self._to_publish: dict[str, list[str]] = {"rewound": [], "repaired": [], "settled": []}
        self._patched: set[str] = set()  # requests that some shard only patched, settled or not
        self._is_stale, self._is_published = False, False
        self._superseded: set[FileRef] = set()  # by lineages that are not published yet
        self._doomed: set[FileRef] = set()  # by a published generation
        self._to_purge: list[str] = []

    def handle(self, event: Event) -> list[Command]:
        """Take in what happened and say what to do next. An event that was seen already changes nothing."""
        match event:
            case RunTrained(lineages=lineages):
                self._lineages = {lineage.shard: lineage for lineage in lineages}
                return [self._publish()]
            case RevocationsAccepted(requests=requests):
                return self._accept([one for one in requests if one.request_id not in self._requests])
            case SettleRequested(shards=shards):
                self._to_settle.update(shard for shard in shards if self._lineages[shard].debts)
                return self._start(shards)
            case WorkResumed():
                return self._start(self._stalled)
            case ShardRepaired(report=report):
                return self._take_back(report)
            case ShardFailed(shard=shard, command_id=command_id):
                return self._give_up(shard, command_id)
            case GenerationPublished():
                return self._published(event)
            case RequestsPurged(request_ids=request_ids):
                return self._purged(request_ids)

    def outstanding(self) -> list[Command]:
        """The commands whose outcome is still awaited, for a coordinator that takes over after a replay.

        It starts nothing: what is at work must follow from the journal alone, so that takes an event.
        """
        publish: list[Command] = [self._publish()] if self._is_stale else []
        purge: list[Command] = [] if publish else self._purge()
        return [*publish, *purge, *self.at_work]

    @property
    def is_stalled(self) -> bool:
        """Whether a failure left a shard that has work and is not at it."""
        return bool(self._stalled)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is at work, waits, or is left to settle, to publish or to destroy."""
        return not (self._working or self._stalled or self._is_stale or self._doomed or self._to_purge)

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
        return tuple(self._unrepaired)

    def workloads(self, request: RevocationRequest) -> list[ShardWorkload]:
        """What the remedies of a request would cost, each shard served for this request and those that it is not past."""
        return [
            self._workload(part.shard, [*self.pending(part.shard), request.request_id], extra=request)
            for part in request.forget
        ]

    def _accept(self, requests: Sequence[RevocationRequest]) -> list[Command]:
        touched: set[int] = set()
        for request in requests:
            shards = {part.shard for part in request.forget}
            self._requests[request.request_id] = request
            self._unrepaired[request.request_id] = set(shards)
            for shard in shards:
                self._waiting.setdefault(shard, []).append(request.request_id)
            touched |= shards
        commands: list[Command] = []
        if requests and OnAccept(self._config.on_accept) is not OnAccept.KEEP:
            self._to_publish["rewound"].extend(request.request_id for request in requests)
            commands.append(self._publish())
        return [*commands, *self._start(touched)]

    def _take_back(self, report: RepairReport) -> list[Command]:
        command = self._working.get(report.shard)
        if command is None or command.command_id != report.command_id:
            return []
        before = self._lineages[report.shard]
        self._lineages[report.shard] = report.lineage
        self._end(report.shard)
        self._superseded |= before.files - report.lineage.files
        repaired = [request_id for request_id in command.request_ids if self._is_repaired(request_id, report.shard)]
        still_owed = {request_id for lineage in self._lineages.values() for request_id in lineage.debts}
        self._patched.update(report.lineage.debts)
        candidates = dict.fromkeys((*before.debts, *(one for one in repaired if one in self._patched)))
        settled = [one for one in candidates if one not in still_owed and one not in self._unrepaired]
        self._to_publish["repaired"].extend(repaired)
        self._to_publish["settled"].extend(settled)
        commands: list[Command] = []
        if repaired or not command.request_ids:
            commands.append(self._publish())
        return [*commands, *self._start([report.shard]), *([] if commands else self._purge())]

    def _is_repaired(self, request_id: str, shard: int) -> bool:
        """Note that a shard is past a request; True where it was the request's last."""
        remaining = self._unrepaired[request_id]
        remaining.discard(shard)
        if remaining:
            return False
        del self._unrepaired[request_id]
        return True

    def _give_up(self, shard: int, command_id: str) -> list[Command]:
        command = self._working.get(shard)
        if command is not None and command.command_id == command_id:
            self._waiting[shard] = self.pending(shard)
            self._end(shard)
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
        self._is_stale = True
        on_accept = OnAccept(self._config.on_accept)
        return PublishGeneration(
            cause=self._cause(),
            constituents=tuple(
                constituent(lineage, pending_from=self._pending_from(lineage.shard), on_accept=on_accept)
                for lineage in self.lineages
            ),
            lineages=self.lineages,
            rewound=tuple(self._to_publish["rewound"]),
            repaired=tuple(self._to_publish["repaired"]),
            settled=tuple(self._to_publish["settled"]),
        )

    def _cause(self) -> str:
        if not self._is_published:
            return "train"
        return "repair" if self._to_publish["repaired"] else "rewind" if self._to_publish["rewound"] else "settle"

    def _published(self, event: GenerationPublished) -> list[Command]:
        self._is_stale, self._is_published = False, True
        for what, request_ids in (("rewound", event.rewound), ("repaired", event.repaired), ("settled", event.settled)):
            self._to_publish[what] = [one for one in self._to_publish[what] if one not in request_ids]
        self._to_purge.extend(event.repaired)
        self._doomed |= self._superseded
        self._superseded.clear()
        return self._purge()

    def _purge(self) -> list[Command]:
        """Destroy what a published generation superseded, once no remedy at work aims at it."""
        for lineage in self._lineages.values():  # the same content may have come about again
            self._doomed -= lineage.files
        aimed_at = {file for command in self._working.values() for one in command.references for file in one.files}
        if self._doomed & aimed_at or not (self._doomed or self._to_purge):
            return []
        rows = sum(self._requests[one].samples for one in self._to_purge)
        return [Purge(files=frozenset(self._doomed), request_ids=tuple(self._to_purge), rows=rows)]

    def _purged(self, request_ids: Sequence[str]) -> list[Command]:
        self._doomed.clear()
        self._to_purge = [one for one in self._to_purge if one not in request_ids]
        for request_id in request_ids:
            self._requests.pop(request_id, None)
        return []

    def pending(self, shard: int) -> list[str]:
        """The requests that a shard is not past yet."""
        working = self._working.get(shard)
        return [*(working.request_ids if working else ()), *self._waiting.get(shard, [])]

    def _pending_from(self, shard: int) -> int | None:
        slices = self._touched(shard, self.pending(shard))
        return min(slices) if slices else None

    def _touched(
        self, shard: int, request_ids: Iterable[str], extra: RevocationRequest | None = None
    ) -> dict[int, int]:
        """slice -> forgotten samples, over all these requests together"""
        touched: dict[int, int] = {}
        for request_id in request_ids:
            request = self._requests.get(request_id) or extra
            assert request is not None
            for part in request.forget:
                if part.shard == shard:
                    for position, count in part.samples_by_slice.items():
                        touched[position] = touched.get(position, 0) + count
        return touched

    def _workload(
        self, shard: int, request_ids: Sequence[str], extra: RevocationRequest | None = None
    ) -> ShardWorkload:
        touched = self._touched(shard, request_ids, extra)
        return shard_workload(self._lineages[shard], touched, epochs=self._epochs, config=self._config)

    @property
    def _stalled(self) -> set[int]:
        """Shards that have work and are not at it."""
        waiting = {shard for shard, request_ids in self._waiting.items() if request_ids}
        return (waiting | self._to_settle) - self._working.keys()

    def _start(self, shards: Iterable[int]) -> list[Command]:
        """Start the remedies of idle shards that have work, the longest first."""
        ready = {shard: self._waiting.get(shard, []) for shard in sorted(self._stalled.intersection(shards))}
        workloads = {shard: self._workload(shard, request_ids) for shard, request_ids in ready.items()}
        decisions = self._decide(workloads, ready)
        for shard, decision in decisions.items():
            self._waiting.pop(shard, None)
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
                request = self._requests[request_id]
                requested.setdefault((request.strategy, request.boundary), set()).add(shard)
            if shard in self._to_settle:
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
        """The next shards around the ring that have samples, those that no request waits for first."""
        others = [other for other in self._lineages if other != shard and self._lineages[other].samples]
        others.sort(key=lambda other: (bool(self.pending(other)), (other - shard) % len(self._lineages)))
        return tuple(
            Reference(shard=other, checkpoint=self._lineages[other].serving, table=self._lineages[other].table)
            for other in others[:MOST_REFERENCES]
        )
