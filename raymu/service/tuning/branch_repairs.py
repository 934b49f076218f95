"""Repairs that are carried out for real while the clock is simulated."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from raymu.core.commands import RepairReport, RepairShard
from raymu.core.partition import Indices
from raymu.core.planning.trace import RevocableSamples
from raymu.core.records import FileRef, SampleId
from raymu.core.requests import RevocationRequest
from raymu.service.shard.messages import RepairTask
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore


class BranchRepairs:
    """Repairs the shards of a branch. Reported seconds are forecasts, so a trial gives the same score on any machine."""

    def __init__(self, branch: RunStore, population: RevocableSamples, rows: Sequence[Indices]) -> None:
        """Index the samples to forget.

        Args:
            branch: The run to repair.
            population: The samples of the run.
            rows: For each request of the trace, row numbers in the population.
        """
        self._branch, self._worker = branch, ShardWorker(branch)
        self._forget: dict[tuple[str, int], frozenset[SampleId]] = {}
        """(request id, shard) -> samples to forget"""
        for request_index, request_rows in enumerate(rows):
            shards = population.shards[request_rows]
            for shard in np.unique(shards).tolist():
                ids = population.ids[request_rows[shards == shard]].tolist()
                self._forget[str(request_index), shard] = frozenset(ids)
        self.measured_seconds = 0.0
        """Compute seconds that the repairs really took."""

    def execute(self, command: RepairShard, accepted: Mapping[str, RevocationRequest]) -> RepairReport:
        """Repair one shard. `accepted` holds all requests so far, by id."""
        unseen = command.references[0].shard if command.references else None
        task = RepairTask(
            command=command,
            forget=self._samples_of(command.request_ids, command.shard),
            unseen_forgotten=frozenset() if unseen is None else self._samples_of(accepted, unseen),
            term=self._branch.fencing.term(),
        )
        *_, report = self._worker.run(task)
        assert isinstance(report, RepairReport)
        self._branch.reports.delete([report.command_id])
        self.measured_seconds += report.seconds
        lineage = replace(report.lineage, seconds_per_pass=command.lineage.seconds_per_pass)
        # Without a determinism class, later forecasts do not depend on the machine either.
        return replace(report, seconds=_forecast_seconds(command, report), lineage=lineage, determinism="")

    def destroy(self, files: Collection[FileRef]) -> None:
        """Delete files of the branch."""
        self._branch.destroy(files)

    def _samples_of(self, request_ids: Collection[str], shard: int) -> frozenset[SampleId]:
        samples = (self._forget.get((request_id, shard), frozenset()) for request_id in request_ids)
        return frozenset[SampleId]().union(*samples)


def _forecast_seconds(command: RepairShard, report: RepairReport) -> float:
    """Return the forecast seconds of a repair for the passes that it took."""
    decision, lineage = command.decision, command.lineage
    if report.remedy is decision.remedy and decision.passes:
        passes_s = (decision.seconds - decision.fixed_seconds) * report.passes / decision.passes
        return decision.fixed_seconds + passes_s
    stages = lineage.slices - command.earliest_slice  # retrained after a patch that failed
    return report.passes * lineage.seconds_per_pass + stages * lineage.seconds_per_stage
