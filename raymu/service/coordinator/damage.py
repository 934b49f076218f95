"""Finds damaged files of a run, and makes lost routes again. `lost_samples` restores what a shard was trained on."""

from dataclasses import dataclass

from raymu.core.board.board import RevocationBoard
from raymu.core.records import FileRef, ShardLineage
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """The missing or changed files of one shard."""

    lineage: ShardLineage
    files: tuple[FileRef, ...]

    @property
    def has_lost_samples(self) -> bool:
        return not self.lineage.sample_files.files.isdisjoint(self.files)

    @property
    def first_stage(self) -> int | None:
        """The first stage that must be trained again; None if no training is needed."""
        lineage, lost = self.lineage, set(self.files)
        stages = [
            stage
            for stage, (checkpoint, updates) in enumerate(zip(lineage.checkpoints, lineage.updates, strict=True))
            if (checkpoint and checkpoint.file in lost) or updates in lost
        ]
        if lineage.serving.file in lost:  # a patched state cannot be restored: it is made exact instead
            stages.append(lineage.trained_slices - 1 if lineage.tainted_from is None else lineage.tainted_from)
        return min(stages, default=None)


def find_damage(store: RunStore, lineages: tuple[ShardLineage, ...]) -> list[Damage]:
    """Read every file of every shard, and compare its hash. Raises FileUnreadable."""
    damaged = []
    for lineage in lineages:
        refs = sorted(lineage.files, key=lambda ref: ref.path)
        files = tuple(ref for ref, problem in zip(refs, store.files.damage(refs), strict=True) if problem)
        if files:
            damaged.append(Damage(lineage=lineage, files=files))
    return damaged


def restore_routes(store: RunStore, board: RevocationBoard) -> bool:
    """Make the run's routes from its tables if a file of them is missing or changed, or if an earlier version wrote none.

    Returns whether it did. Raises FileMissing, FileCorrupt, StorageFailed.
    """
    refs = store.manifest.routes_with(board.added_routes)
    if not (store.needs_routes(board.added_routes) if refs is None else any(store.files.damage(refs))):
        return False
    samples = [board.samples_of(shard) for shard in range(len(board.tables))]
    store.make_routes(samples, extensions=len(board.added_routes))
    return True
