"""A coordinator of very many shards, without their files: its memory, and what it does for one request."""

import gc
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from capacity_runs import configure, timed

from raymu.config.unlearning import Boundary, Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration
from raymu.core.events import RevocationsAccepted, RunTrained
from raymu.core.records import Generation, ShardLineage
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.core.workload import RunShape
from raymu.store.codec import from_json, to_json
from raymu.store.run import RunStore


def repeated(lineage: ShardLineage, shards: int) -> tuple[ShardLineage, ...]:
    payload = to_json(lineage)
    return tuple(replace(from_json(ShardLineage, payload, source="a lineage"), shard=shard) for shard in range(shards))


def measure_coordinator(folder: Path, lineage: ShardLineage, shards: int) -> dict[str, float]:
    """A board of many shards: its memory, and what one request and one publication take."""
    config = configure(folder, samples=2_000)
    gc.collect()
    tracemalloc.start()
    lineages = repeated(lineage, shards)
    board = RevocationBoard(RunShape.of(config), workers=1)
    board.handle(RunTrained(at=datetime.now(UTC), lineages=lineages, workers=1))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    request = RevocationRequest(
        request_id="r1",
        payload_sha256="",
        strategy=Strategy.HS,
        boundary=Boundary.parse(0.35),
        received_at=datetime.now(UTC),
        due_at=datetime.now(UTC),
        forget=(ForgetSet(shard=0, samples_by_slice={2: 1}),),
        hashes=("h",),
    )
    accepted = RevocationsAccepted(at=datetime.now(UTC), requests=(request,), generation=1)
    accept_s, commands = timed(lambda: board.handle(accepted))
    [publish] = [command for command in commands if isinstance(command, PublishGeneration)]
    generation = Generation(
        number=1,
        previous_sha256="",
        cause=publish.cause,
        request_ids=(),
        published_at=datetime.now(UTC),
        constituents=publish.constituents,
        lineages=publish.lineages,
    )
    store = RunStore(str(folder / "generation"))
    store.keys.create()
    write_s, ref = timed(lambda: store.generations.write(generation))
    return {
        "shards": shards,
        "slices": lineage.slices,
        "memory_bytes_per_shard": held / shards,
        "generation_bytes_per_shard": ref.byte_size / shards,
        "accept_s_per_shard": accept_s / shards,
        "publish_s_per_shard": write_s / shards,
    }
