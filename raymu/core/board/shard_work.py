"""The board's record of one shard: its lineage, the requests that wait for it, and the repair that is running."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raymu.core.commands import CalibrationReference, Decision, RepairShard
from raymu.core.records import Exactness, Remedy, ShardLineage
from raymu.core.repair_speed import RepairEffort
from raymu.core.workload import ShardWorkload


@dataclass(kw_only=True, slots=True)
class ShardWork:
    """The state and the work of one shard."""

    lineage: ShardLineage
    waiting: list[str] = field(default_factory=list)
    """Requests that no remedy serves yet, in order of arrival."""
    repair: RepairShard | None = None
    """The repair that is running."""
    efforts: Mapping[Remedy, RepairEffort] = field(default_factory=dict)
    """The effort of each remedy when the running repair was decided on. Its seconds are compared with that."""
    must_settle: bool = False
    """The next repair retrains the shard, whatever the requests ask for, to settle its debt."""
    is_settling: bool = False
    """The running repair settles the shard's debt."""
    must_restart: bool = False
    """The next repair trains the shard from its first stage, so that all stages are of one determinism class."""
    is_restarting: bool = False
    """The running repair does so."""
    lost_from: int | None = None
    """First stage whose files are missing or changed."""

    @property
    def pending(self) -> list[str]:
        """Requests that the shard is not repaired for: those being served, then those that wait."""
        return [*(self.repair.request_ids if self.repair else ()), *self.waiting]

    @property
    def retrain_reason(self) -> str | None:
        """Why the next repair must be a retraining, whatever the requests ask for."""
        if self.lost_from is not None:
            return "files of the shard were lost"
        if self.lineage.untrained_from is not None:
            return "samples were added"
        if self.must_restart:
            return "no training from scratch is known to give its bits"
        return "what the shard owes is settled with it" if self.must_settle else None

    @property
    def is_idle_with_work(self) -> bool:
        """Whether the shard has work and no repair is running."""
        return self.repair is None and bool(self.waiting or self.retrain_reason)

    @property
    def train_from(self) -> int | None:
        """The first stage that has to be trained again, whatever the requests ask for; None without any."""
        return 0 if self.must_restart or self.is_restarting else self.lost_from

    def restart(self) -> None:
        """Let the next repair train the shard from its first stage, if it is inconclusive and owes nothing."""
        self.must_restart |= self.lineage.exactness is Exactness.INCONCLUSIVE

    def lose_from(self, stage: int) -> None:
        """Note that the files of this stage and the later ones are missing or changed."""
        self.lost_from = stage if self.lost_from is None else min(stage, self.lost_from)

    def start(self, command: RepairShard, efforts: Mapping[Remedy, RepairEffort]) -> None:
        """Begin a repair that serves every waiting request."""
        self.repair, self.efforts, self.waiting = command, efforts, []
        self.is_settling, self.must_settle = self.must_settle, False
        self.is_restarting, self.must_restart = self.must_restart, False

    def finish(self, lineage: ShardLineage, *, retrained_from: int | None) -> None:
        """End the running repair with its result.

        Args:
            lineage: The shard after the repair.
            retrained_from: The first stage that was trained again; None after a patch.
        """
        self.lineage = lineage
        if retrained_from is not None and self.lost_from is not None and retrained_from <= self.lost_from:
            self.lost_from = None
        self.is_restarting = False  # whether or not it is exact now: workers may be of two kinds
        self._end()

    def fail(self) -> None:
        """End the running repair without a result: its requests wait again, ahead of later ones."""
        self.waiting = self.pending
        self._end()

    def _end(self) -> None:
        self.must_settle = bool(self.lineage.debts) and (self.must_settle or self.is_settling)
        self.must_restart = self.lineage.exactness is Exactness.INCONCLUSIVE and (
            self.must_restart or self.is_restarting
        )
        self.repair, self.efforts, self.is_settling, self.is_restarting = None, {}, False, False


def repair_command(
    work: ShardWork, workload: ShardWorkload, decision: Decision, *, references: tuple[CalibrationReference, ...]
) -> RepairShard:
    """Make the command that serves every request waiting for a shard.

    The id follows from the content, so that the same work has the same id whichever coordinator orders it.
    """
    return RepairShard(
        command_id=_command_id(work.lineage, workload.earliest_slice, work.waiting),
        request_ids=tuple(work.waiting),
        lineage=work.lineage,
        decision=decision,
        earliest_slice=workload.earliest_slice,
        references=references,
    )


def _command_id(lineage: ShardLineage, earliest_slice: int, request_ids: Sequence[str]) -> str:
    identity = "/".join((lineage.serving.file.sha256, str(earliest_slice), *request_ids))
    digest = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    return f"repair-{lineage.shard:04d}-{digest}"
