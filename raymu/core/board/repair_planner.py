"""Plans the repairs of a board's shards: what each remedy would cost, which one is chosen, and the command for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raymu.config.unlearning import Boundary, Strategy
from raymu.core.board.accepted_requests import AcceptedRequests
from raymu.core.board.shard_index import ShardIndex
from raymu.core.board.shard_work import ShardWork, repair_command
from raymu.core.commands import CalibrationReference, Decision, RepairShard
from raymu.core.planner import calibration_references, decide_repairs
from raymu.core.repair_speed import RepairSpeeds
from raymu.core.requests import RevocationRequest, touched_slices
from raymu.core.run_shape import RunShape
from raymu.core.workload import ShardWorkload, shard_workload


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairPlanner:
    """Plans repairs from what a board knows at the moment. It changes nothing."""

    shards: Sequence[ShardWork]
    index: ShardIndex
    """The same shards by what they do and owe."""
    requests: AcceptedRequests
    shape: RunShape
    speeds: RepairSpeeds
    workers: int
    """Number of shards that are repaired side by side."""

    def plan(self, shards: Iterable[int]) -> list[tuple[RepairShard, ShardWorkload]]:
        """Plan the repairs of those of these shards that are idle and have work. Return each command with its workload."""
        ready = sorted(self.index.idle_with_work.intersection(shards))
        workloads = [self.workload(shard, self.requests.of(self.shards[shard].waiting)) for shard in ready]
        decisions = self._decide(workloads)
        return [
            (
                repair_command(
                    self.shards[workload.shard],
                    workload,
                    decisions[workload.shard],
                    references=self.references(workload.shard),
                ),
                workload,
            )
            for workload in workloads
        ]

    def workload(self, shard: int, requests: Iterable[RevocationRequest]) -> ShardWorkload:
        """Predict the remedies of a shard, repaired for these requests together."""
        work = self.shards[shard]
        return shard_workload(
            work.lineage,
            touched_slices(requests, shard),
            shape=self.shape,
            references=[self.shards[each.shard].lineage.samples for each in self.references(shard)],
            lost_from=work.train_from,
            speeds=self.speeds,
        )

    def references(self, shard: int) -> tuple[CalibrationReference, ...]:
        """Return the models that a patch of a shard is calibrated against."""
        nearest = self.index.nearest(shard)
        return calibration_references(
            shard, nearest, shards=len(self.shards), is_awaited=self.index.awaited.__contains__
        )

    def by_urgency(self, commands: Iterable[RepairShard]) -> list[RepairShard]:
        """Sort repairs: those for requests that came overdue first, and of these and of the others the longest."""

        def urgency(command: RepairShard) -> tuple[bool, float, int]:
            return not self.requests.is_urgent(command.request_ids), -command.decision.seconds, command.shard

        return sorted(commands, key=urgency)

    def _decide(self, workloads: Sequence[ShardWorkload]) -> dict[int, Decision]:
        requested: dict[tuple[Strategy, Boundary], set[int]] = {}
        to_retrain: dict[int, str] = {}
        for shard in (workload.shard for workload in workloads):
            for request in self.requests.of(self.shards[shard].waiting):
                requested.setdefault((request.strategy, request.boundary), set()).add(shard)
            if reason := self.shards[shard].retrain_reason:
                to_retrain[shard] = reason
        return decide_repairs(
            workloads,
            {rule: frozenset(shards) for rule, shards in requested.items()},
            to_retrain,
            workers=self.workers,
            ohs=self.shape.unlearning.ohs,
        )
