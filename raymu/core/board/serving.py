"""Chooses the state that a shard serves while requests wait for it, or while files of it are lost."""

from raymu.config.unlearning import OnAccept
from raymu.core.records import CheckpointRef, Constituent, ShardLineage, ShardState


def served_constituent(
    lineage: ShardLineage, *, pending_from: int | None, on_accept: OnAccept, lost_from: int | None = None
) -> Constituent:
    """Choose the state that a shard serves.

    Args:
        lineage: The shard.
        pending_from: Earliest slice touched by requests that are accepted but not repaired; None without any.
        on_accept: What a shard serves while requests wait for it.
        lost_from: First stage whose files are missing or changed; None without any.
    """
    trained = lineage.trained_slices
    if on_accept is OnAccept.KEEP or (pending_from is not None and pending_from >= trained):
        pending_from = None  # a state that was not trained on the slice yet needs no rewinding
    if lost_from is not None and lost_from >= trained:
        lost_from = None
    starts = [start for start in (pending_from, lost_from) if start is not None]
    if not starts:
        samples = sum(lineage.slice_samples[:trained])
        return _serve(lineage, ShardState(lineage.exactness), lineage.serving, trained, samples)
    if on_accept is OnAccept.ABSTAIN and pending_from is not None:
        return _abstain(lineage.shard)
    untouched = min([*starts, *([] if lineage.tainted_from is None else [lineage.tainted_from])])
    checkpoint = lineage.checkpoints[untouched - 1] if untouched else None
    return _serve(lineage, ShardState.REWOUND, checkpoint, untouched, sum(lineage.slice_samples[:untouched]))


def _serve(
    lineage: ShardLineage, state: ShardState, checkpoint: CheckpointRef | None, stages: int, samples: int
) -> Constituent:
    """Serve a checkpoint, or abstain without one or with one that has seen no sample: an untrained model has no vote."""
    if checkpoint is None or samples == 0:
        return _abstain(lineage.shard)
    return Constituent(shard=lineage.shard, state=state, checkpoint=checkpoint, stages_trained=stages, samples=samples)


def _abstain(shard: int) -> Constituent:
    return Constituent(shard=shard, state=ShardState.ABSTAINING, checkpoint=None, stages_trained=0, samples=0)
