"""The shards of a board by what they do and owe, kept up to date as they change, so that no question looks at all of them."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from raymu.core.board.shard_work import ShardWork
from raymu.core.commands import RepairShard
from raymu.core.planner import MOST_REFERENCES
from raymu.core.records import FileRef, ShardLineage


class ShardIndex:
    """Sets of shards. Whoever changes a shard calls `note` afterwards, which takes time for that shard alone."""

    def __init__(self, shards: Sequence[ShardWork]) -> None:
        """Index shards, which stay those of the board."""
        self._shards = shards
        self._lineages: list[ShardLineage] = [work.lineage for work in shards]
        self.running: dict[int, RepairShard] = {}
        """The repairs that have begun and not ended, by shard."""
        self.retraining: set[int] = set()
        """Shards whose running repair settles, restores or extends them."""
        self.idle_with_work: set[int] = set()
        """Shards that have work and are not being repaired."""
        self.awaited: set[int] = set()
        """Shards that a request waits for."""
        self.restarting: set[int] = set()
        """Inconclusive shards that are trained from their first stage, or wait for it."""
        self.lost: dict[int, int] = {}
        """Shard -> the first stage whose files are lost."""
        self.untrained: set[int] = set()
        """Shards with slices that are not trained yet."""
        self.debts: dict[str, set[int]] = {}
        """Request -> the shards that have only patched it."""
        self.changed: set[int] = set()
        """Shards that changed since a constituent was chosen for each."""
        self._debts_of: dict[int, tuple[str, ...]] = {}
        self._read: Counter[FileRef] = Counter()  # files of other shards that running repairs read
        self._unfit: set[int] = set()  # shards that no calibration can aim at
        self._free: list[int] | None = None  # the others without a request, ascending; None: not computed
        for shard in range(len(shards)):
            self.note(shard)

    @property
    def lineages(self) -> tuple[ShardLineage, ...]:
        """The lineage of each shard."""
        return tuple(self._lineages)

    def note(self, shard: int) -> None:
        """Take up what has changed of a shard."""
        work = self._shards[shard]
        lineage = self._lineages[shard] = work.lineage
        self.changed.add(shard)
        self._note_repair(shard, work.repair)
        is_retraining = work.repair is not None and (work.is_settling or work.retrain_reason is not None)
        _put(self.retraining, shard, is_member=is_retraining)
        _put(self.idle_with_work, shard, is_member=work.is_idle_with_work)
        _put(self.restarting, shard, is_member=work.must_restart or work.is_restarting)
        _put(self.untrained, shard, is_member=lineage.untrained_from is not None)
        is_other = _put(self.awaited, shard, is_member=bool(work.pending))
        is_other |= _put(self._unfit, shard, is_member=work.lost_from is not None or not lineage.samples)
        if is_other:
            self._free = None
        if work.lost_from is None:
            self.lost.pop(shard, None)
        else:
            self.lost[shard] = work.lost_from
        self._note_debts(shard, lineage.debts)

    def is_read(self, files: Iterable[FileRef]) -> bool:
        """Return whether a running repair of another shard reads one of these files."""
        return any(file in self._read for file in files)

    def nearest(self, shard: int) -> list[ShardLineage]:
        """Return the shards that a calibration can aim at, no more than are looked at: those without a request first."""
        busy = len(self.awaited) + len(self._unfit)
        free = self._few_free(shard) if 2 * busy > len(self._shards) else self._others(shard)
        unawaited = (other for other in free if other not in self.awaited and other not in self._unfit)
        nearest = list(islice(unawaited, MOST_REFERENCES))
        if len(nearest) < MOST_REFERENCES:
            waiting = (other for other in self._others(shard) if other in self.awaited and other not in self._unfit)
            nearest += islice(waiting, MOST_REFERENCES - len(nearest))
        return [self._lineages[other] for other in nearest]

    def _others(self, shard: int) -> Iterator[int]:
        """Yield the shards after one, and then those before it."""
        return chain(range(shard + 1, len(self._shards)), range(shard))

    def _few_free(self, shard: int) -> Iterator[int]:
        """Yield the same without those that are surely busy. The list serves all shards of a large request."""
        if self._free is None:
            busy = self.awaited | self._unfit
            self._free = [other for other in range(len(self._shards)) if other not in busy]
        start, end = bisect_right(self._free, shard), bisect_right(self._free, shard - 1)
        return chain(self._free[start : start + MOST_REFERENCES], self._free[: min(end, MOST_REFERENCES)])

    def _note_repair(self, shard: int, repair: RepairShard | None) -> None:
        before = self.running.get(shard)
        if before is repair:
            return
        for command, sign in ((before, -1), (repair, 1)):
            for file in (file for each in (command.references if command else ()) for file in each.files):
                self._read[file] += sign
                if not self._read[file]:
                    del self._read[file]
        if repair is None:
            del self.running[shard]
        else:
            self.running[shard] = repair

    def _note_debts(self, shard: int, debts: tuple[str, ...]) -> None:
        for request_id in self._debts_of.pop(shard, ()):
            self.debts[request_id].discard(shard)
            if not self.debts[request_id]:
                del self.debts[request_id]
        if debts:
            self._debts_of[shard] = debts
        for request_id in debts:
            self.debts.setdefault(request_id, set()).add(shard)


def _put(members: set[int], shard: int, *, is_member: bool) -> bool:
    """Let a set contain a shard or not. Returns whether that changed it."""
    if (shard in members) == is_member:
        return False
    if is_member:
        members.add(shard)
    else:
        members.discard(shard)
    return True
