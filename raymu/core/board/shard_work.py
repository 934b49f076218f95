"""What each shard is at, and what it has to train again whatever requests wait for it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from raymu.core.commands import CalibrationReference, Decision, RepairShard
from raymu.core.records import ShardLineage
from raymu.core.requests import RevocationRequest
from raymu.core.workload import ShardWorkload


class Worklist:
    """Shards at work, shards to settle, and shards whose files are lost."""

    def __init__(self) -> None:
        self._working: dict[int, RepairShard] = {}
        self._to_settle: set[int] = set()
        self._settling: set[int] = set()  # at work, and asked to settle
        self._lost: dict[int, int] = {}  # shard -> first stage whose files are missing or changed

    @property
    def at_work(self) -> tuple[RepairShard, ...]:
        return tuple(self._working.values())

    @property
    def working(self) -> frozenset[int]:
        """The shards at work."""
        return frozenset(self._working)

    @property
    def to_retrain(self) -> dict[int, str]:
        """The shards that are to be settled, or whose files are lost. returns: shard -> why it is retrained"""
        settled = dict.fromkeys(self._to_settle, "what the shard owes is settled with it")
        return settled | dict.fromkeys(self._lost, "files of the shard were lost")

    @property
    def has_lost(self) -> bool:
        return bool(self._lost)

    @property
    def has_company(self) -> bool:
        """Whether a shard at work is settled, or trained again for lost files."""
        return bool(self._working.keys() & (self._settling | self.to_retrain.keys()))

    def find(self, shard: int, command_id: str) -> RepairShard | None:
        """The command, if the shard is at it."""
        command = self._working.get(shard)
        return command if command and command.command_id == command_id else None

    def request_ids(self, shard: int) -> tuple[str, ...]:
        """Of the remedy that the shard is at."""
        command = self._working.get(shard)
        return command.request_ids if command else ()

    def lost_from(self, shard: int) -> int | None:
        """The first stage whose files are lost."""
        return self._lost.get(shard)

    def settle(self, shards: Iterable[int]) -> None:
        self._to_settle.update(shards)

    def lose(self, first_stages: Mapping[int, int]) -> None:
        """first_stages: shard -> first stage whose files are missing or changed"""
        for shard, stage in first_stages.items():
            self._lost[shard] = min(stage, self._lost.get(shard, stage))

    def rebuild(self, shard: int, first_stage: int) -> None:
        """The stages from one on were trained again."""
        if first_stage <= self._lost.get(shard, -1):
            del self._lost[shard]

    def begin(self, command: RepairShard) -> None:
        if command.shard in self._to_settle:
            self._to_settle.discard(command.shard)
            self._settling.add(command.shard)
        self._working[command.shard] = command

    def end(self, shard: int, *, is_owing: bool) -> None:
        """A remedy ended; a shard that still owes what it was to settle is to be settled again."""
        del self._working[shard]
        if not is_owing:
            self._to_settle.discard(shard)
        elif shard in self._settling:
            self._to_settle.add(shard)
        self._settling.discard(shard)


def repair_command(
    lineage: ShardLineage,
    workload: ShardWorkload,
    decision: Decision,
    request_ids: Sequence[str],
    *,
    references: tuple[CalibrationReference, ...],
) -> RepairShard:
    """The same work has the same id, whoever gives it out."""
    identity = "/".join((lineage.serving.file.sha256, str(workload.earliest_slice), *request_ids))
    digest = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    return RepairShard(
        command_id=f"repair-{lineage.shard:04d}-{digest}",
        request_ids=tuple(request_ids),
        lineage=lineage,
        decision=decision,
        earliest_slice=workload.earliest_slice,
        references=references,
    )


class Backlog:
    """Requests from acceptance to purge."""

    def __init__(self) -> None:
        self._requests: dict[str, RevocationRequest] = {}
        self._waiting: dict[int, list[str]] = {}  # by shard, in order of arrival
        self._unrepaired: dict[str, set[int]] = {}  # by request, the shards still to be repaired

    def __getitem__(self, request_id: str) -> RevocationRequest:
        return self._requests[request_id]

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    @property
    def unrepaired(self) -> tuple[str, ...]:
        """Requests that some shard is not past yet."""
        return tuple(self._unrepaired)

    def is_repaired(self, request_id: str) -> bool:
        """Whether every shard is past a request."""
        return request_id not in self._unrepaired

    @property
    def shards(self) -> set[int]:
        """Those that requests wait for."""
        return {shard for shard, request_ids in self._waiting.items() if request_ids}

    def add(self, request: RevocationRequest) -> set[int]:
        """returns: the shards that it waits for from now on"""
        shards = {part.shard for part in request.forget}
        self._requests[request.request_id] = request
        self._unrepaired[request.request_id] = set(shards)
        for shard in shards:
            self._waiting.setdefault(shard, []).append(request.request_id)
        return shards

    def waiting(self, shard: int) -> list[str]:
        return list(self._waiting.get(shard, []))

    def take(self, shard: int) -> None:
        """Its requests are being served."""
        self._waiting.pop(shard, None)

    def put_back(self, shard: int, request_ids: Sequence[str]) -> None:
        """They wait again, before those that came since."""
        self._waiting[shard] = [*request_ids, *self.waiting(shard)]

    def repair(self, request_ids: Iterable[str], shard: int) -> list[str]:
        """Note that a shard is past these requests. returns: those that it was the last shard of"""
        repaired = []
        for request_id in request_ids:
            self._unrepaired[request_id].discard(shard)
            if not self._unrepaired[request_id]:
                del self._unrepaired[request_id]
                repaired.append(request_id)
        return repaired

    def drop(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._requests.pop(request_id, None)

    def samples(self, request_ids: Iterable[str]) -> int:
        return sum(self._requests[one].samples for one in request_ids)

    def touched(self, shard: int, request_ids: Iterable[str], *others: RevocationRequest) -> dict[int, int]:
        """slice -> forgotten samples, over all these requests together"""
        touched: dict[int, int] = {}
        for request in (*(self._requests[one] for one in request_ids), *others):
            for part in request.forget:
                if part.shard == shard:
                    for position, count in part.samples_by_slice.items():
                        touched[position] = touched.get(position, 0) + count
        return touched
