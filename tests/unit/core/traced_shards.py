"""Small shards whose files record the samples that they have seen, so that laws can be checked."""

import hashlib
from collections.abc import Iterable, Mapping

from raymu.core.commands import RepairReport, RepairShard
from raymu.core.records import CheckpointRef, FileRef, Remedy, ShardLineage
from tests.unit.core.examples import SLICES

Samples = frozenset[tuple[int, int, int]]
"""(shard, slice, number)"""


class TracedShards:
    """The workers and the disk of a run. Training and repairs only write files."""

    def __init__(self, *, shards: int, slice_samples: int) -> None:
        self.samples: dict[int, Samples] = {
            shard: frozenset(
                (shard, slice_index, number) for slice_index in range(SLICES) for number in range(slice_samples)
            )
            for shard in range(shards)
        }
        self.forget: dict[str, Samples] = {}  # of every request that is accepted
        self.past: dict[int, set[str]] = {shard: set() for shard in range(shards)}  # requests that a shard is past
        self.files: dict[FileRef, Samples] = {}  # what is on disk, and what it has seen

    @property
    def revoked(self) -> Samples:
        """The samples of every accepted request."""
        return self.forgotten(self.forget)

    def forgotten(self, request_ids: Iterable[str]) -> Samples:
        return Samples().union(*(self.forget[request_id] for request_id in request_ids))

    def pending(self, shard: int) -> list[str]:
        """Accepted requests that a shard is not repaired for."""
        touching = [request_id for request_id, forget in self.forget.items() if forget & self.samples[shard]]
        return [request_id for request_id in touching if request_id not in self.past[shard]]

    def choose(self, touched: Mapping[int, Mapping[int, int]]) -> Samples:
        """Choose samples that are not revoked. `touched` is their number by shard and slice, or all if there are fewer."""
        chosen: set[tuple[int, int, int]] = set()
        for shard, counts in touched.items():
            left = sorted(self.samples[shard] - self.revoked)
            for slice_index, count in counts.items():
                chosen.update([sample for sample in left if sample[1] == slice_index][:count])
        return frozenset(chosen)

    def trained(self, shard: int) -> ShardLineage:
        """Train from scratch without the samples of the requests that the shard is repaired for."""
        return self._trained(shard, self.samples[shard] - self.forgotten(self.past[shard]))

    def execute(self, command: RepairShard, *, patch_fails: bool) -> RepairReport:
        """Repair a shard. Retraining starts from a checkpoint, and must equal training from scratch."""
        before, first, shard = command.lineage, command.earliest_slice, command.shard
        retained = self.samples[shard] - self.forgotten({*self.past[shard], *command.request_ids})
        remedy = Remedy.RETRAIN if patch_fails else command.decision.remedy
        if remedy is Remedy.RETRAIN:
            after = self._trained(shard, retained)
            assert before.checkpoints[:first] == after.checkpoints[:first], "no checkpoint below saw what is forgotten"
            assert before.updates[:first] == after.updates[:first]
        else:
            assert all(reference.checkpoint.file in self.files for reference in command.references), (
                "the checkpoints of calibration references exist"
            )
            after = self._patched(command, retained)
        return RepairReport(
            command_id=command.command_id,
            request_ids=command.request_ids,
            planned=command.decision,
            remedy=remedy,
            reason=command.decision.reason,
            lineage=after,
            passes=command.decision.passes,
            seconds=command.decision.seconds,
            determinism="{}",
        )

    def _trained(self, shard: int, retained: Samples) -> ShardLineage:
        seen = [frozenset(sample for sample in retained if sample[1] <= stage) for stage in range(SLICES)]
        checkpoints = tuple(self._checkpoint(f"stage-{stage}", shard, stage, seen[stage]) for stage in range(SLICES))
        return ShardLineage(
            shard=shard,
            table=self._write("table", shard, retained),
            slice_samples=_slice_samples(retained),
            checkpoints=checkpoints,
            updates=tuple(self._write(f"updates-{stage}", shard, seen[stage]) for stage in range(SLICES)),
            serving=checkpoints[-1],
            tainted_from=None,
            debts=(),
            seconds_per_pass=0.01,
        )

    def _patched(self, command: RepairShard, retained: Samples) -> ShardLineage:
        """Patch a shard: its state has still seen the forgotten samples, and recorded updates lose the subtracted rows."""
        before, shard = command.lineage, command.shard
        updates = [
            ref and self._write(f"updates-{stage}", shard, self.files[ref] & retained)
            for stage, ref in enumerate(before.updates)
        ]
        name = f"patched-{(*before.debts, *command.request_ids)}"
        return before.patched(
            command.earliest_slice,
            command.request_ids,
            table=self._write("table", shard, retained),
            slice_samples=_slice_samples(retained),
            updates=tuple(updates),
            serving=self._checkpoint(name, shard, SLICES - 1, self.files[before.serving.file]),
        )

    def _checkpoint(self, name: str, shard: int, stage: int, seen: Samples) -> CheckpointRef:
        file = self._write(name, shard, seen)
        return CheckpointRef(stage=stage, file=file, weights_sha256=f"weights of {file.sha256}", descent="")

    def _write(self, name: str, shard: int, seen: Samples) -> FileRef:
        """Write a file. Equal content has an equal name, as in the store."""
        digest = hashlib.sha256(repr((name, shard, sorted(seen))).encode()).hexdigest()
        ref = FileRef(path=f"state/{shard}/{name}-{digest[:12]}", sha256=digest, byte_size=1)
        self.files[ref] = seen
        return ref


def _slice_samples(retained: Samples) -> tuple[int, ...]:
    return tuple(sum(sample[1] == slice_index for sample in retained) for slice_index in range(SLICES))
