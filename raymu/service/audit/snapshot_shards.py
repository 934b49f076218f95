"""A shard of a run, read into memory for an audit with two snapshots, and the patch that its strategy would choose."""

import numpy as np

from raymu.config.unlearning import Boundary, BoundaryKind, Strategy
from raymu.core.partition import Indices
from raymu.core.planner import calibration_references, choose_remedies
from raymu.core.records import Generation, Remedy
from raymu.core.run_shape import RunShape
from raymu.core.workload import shard_workload
from raymu.data.rows import Rows
from raymu.service.audit.snapshot_votes import ObservedShard
from raymu.service.run_spec import spec_of
from raymu.service.shard.files import read_shard_samples
from raymu.store.files.concurrency import map_concurrently
from raymu.store.run import RunStore

_PATCHES_ALONE = Boundary(kind=BoundaryKind.FRACTION, value=0.0)


def observed_shard(store: RunStore, generation: Generation, shard: int, questions: Rows) -> ObservedShard:
    """Read a shard with all states that a repair may need.

    Args:
        store: The run.
        generation: A generation for which no shard waits.
        shard: Number of the shard.
        questions: Features of the samples that predictions are asked for.

    Raises:
        FileMissing: A file of the run is missing.
        FileCorrupt: A file of the run was changed.
    """
    lineage, config = generation.lineages[shard], store.config
    is_patched = config.unlearning.strategy is not Strategy.SISA
    references = (
        calibration_references(
            shard, generation.lineages, shards=len(generation.lineages), is_awaited=lambda _other: False
        )
        if is_patched
        else ()
    )
    is_fine_tuned = config.unlearning.strategy is Strategy.OHS and bool(references)
    files = [*(lineage.files - lineage.sample_files.files), *(each.checkpoint.file for each in references)]
    return ObservedShard(
        spec=spec_of(store, added_epochs=lineage.added_epochs),
        lineage=lineage,
        samples=read_shard_samples(store, lineage.table),
        questions=questions,
        input_shape=store.manifest.input_shape,
        unlearning=config.unlearning,
        files=dict(zip(files, map_concurrently(store.files.read_checked, files), strict=True)),
        references=references,
        unseen=read_shard_samples(store, references[0].table) if is_fine_tuned else None,
        device=config.device,
        threads=config.cluster.threads,
    )


def patch_of(store: RunStore, generation: Generation, shard: ObservedShard, slices: Indices) -> Remedy:
    """Return the patch that the run's strategy chooses beyond its boundary; a retraining if none is possible, or cheaper.

    Args:
        store: The run.
        generation: The generation that the shard is of.
        shard: The shard.
        slices: (deleted samples,) int64, their slices.
    """
    numbers, counts = np.unique(slices, return_counts=True)
    workload = shard_workload(
        shard.lineage,
        dict(zip(numbers.tolist(), counts.tolist(), strict=True)),
        shape=RunShape.of(store.config, has_batch_norm=store.manifest.has_batch_norm).extended(
            shard.lineage.added_epochs
        ),
        references=[generation.lineages[each.shard].samples for each in shard.references],
    )
    unlearning = store.config.unlearning
    [decision] = choose_remedies(
        [workload], strategy=unlearning.strategy, boundary=_PATCHES_ALONE, workers=1, ohs=unlearning.ohs
    ).values()
    return decision.remedy
