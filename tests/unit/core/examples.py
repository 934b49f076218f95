"""Small records for the core's tests."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Boundary, Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import RepairReport, RepairShard
from raymu.core.events import Event, GenerationPublished, RevocationsAccepted, RunExtended, RunTrained
from raymu.core.prediction_change import PredictionChange
from raymu.core.records import CheckpointRef, FileRef, Remedy, ShardLineage
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.core.run_shape import RunShape

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
SLICES = 4
EPOCHS = (2, 2, 2, 2)


def checkpoint(shard: int, stage: int, *, version: str = "0") -> CheckpointRef:
    name = f"{shard}/{stage}/{version}"
    return CheckpointRef(
        stage=stage, file=FileRef(path=name, sha256=name, byte_size=1), weights_sha256=f"w{name}", descent=name
    )


def table(shard: int, *, samples: int) -> FileRef:
    name = f"{shard}/table/{samples}"
    return FileRef(path=name, sha256=name, byte_size=1)


def lineage(
    shard: int = 0,
    *,
    slice_samples: tuple[int, ...] = (10, 10, 10, 10),
    tainted_from: int | None = None,
    debts: tuple[str, ...] = (),
    version: str = "0",
) -> ShardLineage:
    slices = len(slice_samples)
    sound = slices if tainted_from is None else tainted_from
    checkpoints = tuple(checkpoint(shard, stage, version=version) if stage < sound else None for stage in range(slices))
    return ShardLineage(
        shard=shard,
        table=table(shard, samples=sum(slice_samples)),
        slice_samples=slice_samples,
        checkpoints=checkpoints,
        updates=(None,) * slices,
        serving=checkpoints[-1] or checkpoint(shard, slices - 1, version=f"patched-{version}"),
        tainted_from=tainted_from,
        debts=debts,
        seconds_per_pass=0.01,
    )


def request(
    request_id: str,
    touched: Mapping[int, Mapping[int, int]],
    *,
    strategy: Strategy = Strategy.SISA,
    boundary: float | str = 0.5,
) -> RevocationRequest:
    """Return a request. `touched` is the number of forgotten samples by shard and slice."""
    return RevocationRequest(
        request_id=request_id,
        payload_sha256=request_id,
        strategy=strategy,
        boundary=Boundary.parse(boundary),
        received_at=NOW,
        due_at=NOW,
        forget=tuple(ForgetSet(shard=shard, samples_by_slice=of) for shard, of in sorted(touched.items())),
        hashes=(f"hash of {request_id}",),
    )


def accepted(*requests: RevocationRequest, is_part: bool = False) -> RevocationsAccepted:
    return RevocationsAccepted(at=NOW, requests=requests, generation=1, is_part=is_part)


def trained_board(shards: int = 3, **unlearning: Any) -> RevocationBoard:
    shape = RunShape(unlearning=UnlearningConfig(**unlearning), epochs=EPOCHS)
    return RevocationBoard.replayed(training(shards), shape, workers=2)


def training(shards: int = 3) -> list[Event]:
    """Return the events of a run that was just trained."""
    lineages = tuple(lineage(shard) for shard in range(shards))
    return [RunTrained(at=NOW, lineages=lineages, workers=2), GenerationPublished(at=NOW, number=1, manifest_sha256="")]


def extended(shards: int = 3, *, slice_samples: tuple[int, ...] = (5,), left_out: int = 0) -> RunExtended:
    """Return the event of samples that are added to each shard of `training`."""
    samples = 40 + sum(slice_samples)
    return RunExtended(
        at=NOW,
        tables=tuple(table(shard, samples=samples) for shard in range(shards)),
        slice_samples=(slice_samples,) * shards,
        epochs=(3,) * len(slice_samples),
        left_out=left_out,
    )


def report_of(
    command: RepairShard, touched: Mapping[int, int], *, version: str, change: PredictionChange | None = None
) -> RepairReport:
    """Return a worker's report. `touched` is the number of samples by slice that this command forgets."""
    before, first = command.lineage, command.earliest_slice
    retained = tuple(count - touched.get(position, 0) for position, count in enumerate(before.slice_samples))
    fresh = tuple(checkpoint(before.shard, stage, version=version) for stage in range(first, before.slices))
    if command.decision.remedy is Remedy.RETRAIN:
        after = before.retrained(
            table=table(before.shard, samples=sum(retained)),
            slice_samples=retained,
            checkpoints=fresh,
            updates=(None,) * len(fresh),
            seconds_per_pass=before.seconds_per_pass,
        )
    else:
        after = before.patched(
            first,
            command.request_ids,
            table=table(before.shard, samples=sum(retained)),
            slice_samples=retained,
            updates=before.updates,
            serving=checkpoint(before.shard, before.slices - 1, version=f"patched-{version}"),
        )
    return RepairReport(
        command_id=command.command_id,
        request_ids=command.request_ids,
        planned=command.decision,
        remedy=command.decision.remedy,
        reason=command.decision.reason,
        lineage=after,
        passes=command.decision.passes,
        seconds=command.decision.seconds,
        determinism="{}",
        change=change,
    )
