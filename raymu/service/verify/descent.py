"""The check of descent: every served state was trained on the retained samples of its shard, and on nothing else."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from raymu.core.findings import FindingKind
from raymu.core.partition import descent_digest, identity_hashes
from raymu.core.records import CheckpointRef, Constituent, Generation, ShardLineage, ShardState
from raymu.core.verdict import Finding, fails, leaves_open
from raymu.data.shard_index import COLUMNS, ShardIndex
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.service.run_routes import RunRoutes
from raymu.service.verify.evidence import Expected
from raymu.store.run import RunStore
from raymu.text import plural

Statement = tuple[FindingKind, str]
"""What is wrong, and the rest of a sentence that begins with the shard."""


def descent_findings(store: RunStore, generation: Generation, expected: Expected) -> Iterator[Finding]:
    """Yield what speaks against the claim that every served state descends from retained samples alone.

    Raises FileMissing, FileCorrupt.
    """
    board = expected.board
    routes = RunRoutes(store, lambda: board.added_routes)
    for lineage, constituent in zip(generation.lineages, generation.constituents, strict=True):
        shard = _ShardSamples(store, lineage, expected, routes)
        for kind, statement in (*shard.check_lineage(), *shard.check_served(constituent)):
            judge = fails if kind is FindingKind.LINEAGE else leaves_open
            yield judge(kind, f"shard {lineage.shard} {statement}")


class _ShardSamples:
    """The samples in a shard's table, to be compared with the recorded descent of its states."""

    def __init__(self, store: RunStore, lineage: ShardLineage, expected: Expected, routes: RunRoutes) -> None:
        columns = [name for name in COLUMNS if name != "owner" or store.config.data.owner]
        table = store.samples.read_table(lineage.table, columns)
        index = ShardIndex.of(table, seed=store.config.partition.seed)
        self._is_routed = routes.leads_to(lineage.shard, table)
        self._is_indexed = lineage.index is None or store.samples.read_index(lineage.sample_files).equals(index)
        sample_ids, revoked = table["id"].to_pylist(), expected.revoked
        waiting = expected.waiting(lineage.shard)
        self._lineage, self._key, self._descents = lineage, store.keys.hash_key, expected.descents
        self._hashes = identity_hashes(sample_ids, seed=store.config.partition.seed, purpose="sample")
        self._slices: npt.NDArray[np.int64] = table["slice"].to_numpy()
        requests = [revoked.get(pseudonym(identity_text("id", sample_id), self._key)) for sample_id in sample_ids]
        self._left_in = sum(request is not None and request not in waiting for request in requests)
        self._is_waiting = np.array([request in waiting for request in requests], dtype=bool)

    def check_lineage(self) -> Iterator[Statement]:
        """Compare the table and the checkpoints with the lineage."""
        if self._left_in:
            samples = plural(self._left_in, "revoked sample")
            yield FindingKind.LINEAGE, f"still contains {samples} of requests that are recorded as repaired"
        if not self._is_indexed:
            yield FindingKind.LINEAGE, "has an index of other samples than its table contains"
        if not self._is_routed:
            yield FindingKind.LINEAGE, "has samples that no routes lead to"
        counts = np.bincount(self._slices, minlength=self._lineage.slices).tolist()
        if tuple(counts) != self._lineage.slice_samples:
            yield FindingKind.LINEAGE, "contains other samples than its lineage records"
        if self._lineage.tainted_from is None and self._lineage.serving != self._last_trained:
            yield FindingKind.LINEAGE, "is recorded as exact, but serves a state other than its last trained checkpoint"
        for checkpoint in filter(None, self._lineage.checkpoints):
            subject = f"has a checkpoint of stage {checkpoint.stage} that"
            if checkpoint.descent != self._descent(checkpoint.stage):
                yield FindingKind.LINEAGE, f"{subject} descends from other samples than its lineage records"
            if len(self._descents.get(checkpoint.file.sha256, ())) > 1:
                yield (
                    FindingKind.KEPT_STATE,
                    f"{subject} existed before the revocation of samples that it is recorded never to have seen",
                )

    @property
    def _last_trained(self) -> CheckpointRef | None:
        return self._lineage.checkpoints[self._lineage.trained_slices - 1]

    def check_served(self, served: Constituent) -> Iterator[Statement]:
        """Compare the served state with the samples that it may descend from."""
        if served.checkpoint is None:
            return
        stage = served.stages_trained - 1
        waiting = int((self._is_waiting & (self._slices <= stage)).sum())
        if waiting:
            samples = plural(waiting, "revoked sample")
            yield FindingKind.WAITING, f"serves a state that saw {samples}, until it is repaired"
        if served.state is ShardState.APPROXIMATE:
            requests = plural(len(self._lineage.debts), "request")
            yield (
                FindingKind.PATCHED,
                f"is approximate: it was patched for {requests} and still descends from revoked samples",
            )
            return
        if served.state is ShardState.INCONCLUSIVE and self._lineage.inexact:
            yield FindingKind.INEXACT, f"is inconclusive: {'; '.join(self._lineage.inexact)}"
        elif served.state is ShardState.INCONCLUSIVE:
            yield (
                FindingKind.OTHER_CLASSES,
                "is of more than one determinism class, and no training from scratch has its bits",
            )
        if served.checkpoint.descent != self._descent(stage):
            yield (
                FindingKind.LINEAGE,
                f"serves a state of stage {stage} that descends from other samples than its table contains",
            )

    def _descent(self, stage: int) -> str:
        """Return the descent of a state that was trained on slices 0 to `stage` of the table, and on nothing else."""
        return descent_digest(self._hashes[self._slices <= stage], key=self._key)
