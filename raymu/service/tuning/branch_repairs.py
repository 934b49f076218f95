"""Remedies that are really carried out, in simulated time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from raymu.core.commands import RepairReport, RepairShard
from raymu.core.partition import Positions
from raymu.core.planning.trace import RevocableSamples
from raymu.core.records import FileRef, SampleId
from raymu.core.requests import RevocationRequest
from raymu.service.shard.messages import RepairTask
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore


class BranchRepairs:
    """Repairs the shards of a branch. The clock runs by forecast, so that a trial ends alike on any machine."""

    def __init__(self, branch: RunStore, population: RevocableSamples, rows: Sequence[Positions]) -> None:
        """rows: of the population, for each request of the trace"""
        self._branch, self._worker = branch, ShardWorker(branch)
        self._forget: dict[tuple[str, int], frozenset[SampleId]] = {}
        for place, of_request in enumerate(rows):
            shards = population.shards[of_request]
            for shard in np.unique(shards).tolist():
                ids = population.ids[of_request[shards == shard]].tolist()
                self._forget[str(place), shard] = frozenset(ids)
        self.measured_seconds = 0.0

    def carry_out(self, command: RepairShard, accepted: Mapping[str, RevocationRequest]) -> RepairReport:
        unseen = command.references[0].shard if command.references else None
        task = RepairTask(
            command=command,
            forget=self._named(command.request_ids, command.shard),
            unseen_forgotten=frozenset() if unseen is None else self._named(accepted, unseen),
            term=self._branch.fencing.term(),
        )
        *_, report = self._worker.run(task)
        assert isinstance(report, RepairReport)
        self._branch.reports.delete([report.command_id])
        self.measured_seconds += report.seconds
        pace = command.lineage.seconds_per_pass
        return replace(report, seconds=report.passes * pace, lineage=replace(report.lineage, seconds_per_pass=pace))

    def destroy(self, files: Collection[FileRef]) -> None:
        self._branch.destroy(files)

    def _named(self, request_ids: Collection[str], shard: int) -> frozenset[SampleId]:
        return frozenset[SampleId]().union(*(self._forget.get((one, shard), frozenset()) for one in request_ids))
