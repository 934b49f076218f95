"""Simulated shards: their lineages after training, and repairs that take their forecast time."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from raymu.core.commands import RepairReport, RepairShard
from raymu.core.records import CheckpointRef, FileRef, Remedy, ShardLineage
from raymu.core.repair_speed import TrainingSpeed
from raymu.core.requests import RevocationRequest, touched_slices


def untrained_lineages(
    slice_samples: Iterable[Sequence[int]], *, seconds_per_pass: float = 1.0, seconds_per_stage: float = 0.0
) -> tuple[ShardLineage, ...]:
    """Return the shards that training would leave, from the samples of each slice of each shard."""
    speed = TrainingSpeed(seconds_per_pass=seconds_per_pass, seconds_per_stage=seconds_per_stage)
    return tuple(_trained(shard, tuple(counts), speed) for shard, counts in enumerate(slice_samples))


class SimulatedRepairs:
    """Repairs that only take their forecast time."""

    def execute(self, command: RepairShard, accepted: Mapping[str, RevocationRequest]) -> RepairReport:
        touched = touched_slices((accepted[request_id] for request_id in command.request_ids), command.shard)
        return simulated_report(command, [touched.get(slice_index, 0) for slice_index in range(command.lineage.slices)])

    def destroy(self, files: Collection[FileRef]) -> None:
        """Do nothing: simulated shards have no files."""


def simulated_report(command: RepairShard, forgotten: Sequence[int]) -> RepairReport:
    """Return the report of a worker if the forecast comes true. `forgotten` is the number of samples of each slice."""
    before, decision = command.lineage, command.decision
    retained = tuple(count - gone for count, gone in zip(before.slice_samples, forgotten, strict=True))
    table = _file(f"{command.command_id}/table")
    if decision.remedy is Remedy.RETRAIN:
        stages = range(command.earliest_slice, before.slices)
        lineage = before.retrained(
            table=table,
            slice_samples=retained,
            checkpoints=tuple(_checkpoint(f"{command.command_id}/{stage}", stage) for stage in stages),
            updates=(None,) * len(stages),
            seconds_per_pass=before.seconds_per_pass,
        )
    else:
        lineage = before.patched(
            command.earliest_slice,
            command.request_ids,
            table=table,
            slice_samples=retained,
            updates=before.updates,
            serving=_checkpoint(f"{command.command_id}/patched", before.slices - 1),
        )
    return RepairReport(
        command_id=command.command_id,
        request_ids=command.request_ids,
        planned=decision,
        remedy=decision.remedy,
        reason=decision.reason,
        lineage=lineage,
        passes=decision.passes,
        seconds=decision.seconds,
        determinism="",
    )


def _trained(shard: int, slice_samples: tuple[int, ...], speed: TrainingSpeed) -> ShardLineage:
    checkpoints = tuple(_checkpoint(f"{shard}/{stage}", stage) for stage in range(len(slice_samples)))
    return ShardLineage(
        shard=shard,
        table=_file(f"{shard}/table"),
        slice_samples=slice_samples,
        checkpoints=checkpoints,
        updates=(None,) * len(slice_samples),
        serving=checkpoints[-1],
        tainted_from=None,
        debts=(),
        seconds_per_pass=speed.seconds_per_pass,
        seconds_per_stage=speed.seconds_per_stage,
    )


def _checkpoint(name: str, stage: int) -> CheckpointRef:
    return CheckpointRef(stage=stage, file=_file(name), weights_sha256=name, descent=name)


def _file(name: str) -> FileRef:
    """Refer to a file that does not exist: the board only compares references."""
    return FileRef(path=name, sha256=name, byte_size=0)
