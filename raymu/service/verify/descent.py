"""From which samples a served state descends."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from raymu.core.partition import descent_digest, identity_hashes
from raymu.core.records import Constituent, Generation, ShardLineage, ShardState
from raymu.core.verdict import Finding, Verdict
from raymu.service.pseudonyms import pseudonym, sample_name
from raymu.service.verify.evidence import Expected
from raymu.store.run import RunStore
from raymu.text import plural

Statement = tuple[Verdict, str]


def descent_findings(store: RunStore, generation: Generation, expected: Expected) -> Iterator[Finding]:
    """What speaks against it that every served state descends from retained samples alone.

    Raises FileMissing, FileCorrupt.
    """
    for lineage, constituent in zip(generation.lineages, generation.constituents, strict=True):
        shard = _ShardSamples(store, lineage, expected)
        for verdict, what in (*shard.of_lineage(), *shard.of_served(constituent)):
            yield Finding(verdict=verdict, what=f"shard {lineage.shard} {what}")


class _ShardSamples:
    """The samples that a shard's table holds, against what its states are said to descend from."""

    def __init__(self, store: RunStore, lineage: ShardLineage, expected: Expected) -> None:
        table = store.read_table(lineage.table, ["id", "slice"])
        ids, revoked = table["id"].to_pylist(), expected.revoked
        waiting = expected.waiting(lineage.shard)
        self._lineage, self._key, self._descents = lineage, store.keys.hash_key, expected.descents
        self._hashes = identity_hashes(ids, seed=store.config.partition.seed, purpose="sample")
        self._slices: npt.NDArray[np.int64] = table["slice"].to_numpy()
        by_sample = [revoked.get(pseudonym(sample_name(one), self._key)) for one in ids]
        self._is_left_in = sum(one is not None and one not in waiting for one in by_sample)
        self._is_waiting = np.array([one in waiting for one in by_sample], dtype=bool)

    def of_lineage(self) -> Iterator[Statement]:
        if self._is_left_in:
            yield Verdict.FAIL, f"still holds {plural(self._is_left_in, 'revoked sample')} that it is said to be past"
        counts = np.bincount(self._slices, minlength=self._lineage.slices).tolist()
        if tuple(counts) != self._lineage.slice_samples:
            yield Verdict.FAIL, "has other samples than its lineage says"
        if self._lineage.tainted_from is None and self._lineage.serving != self._lineage.checkpoints[-1]:
            yield Verdict.FAIL, "is said to be exact, and has another state than the last one that it was trained to"
        for checkpoint in filter(None, self._lineage.checkpoints):
            what = f"has a checkpoint of stage {checkpoint.stage} that"
            if checkpoint.descent != self._descent(checkpoint.stage):
                yield Verdict.FAIL, f"{what} descends from other samples"
            if len(self._descents.get(checkpoint.file.sha256, ())) > 1:
                yield (
                    Verdict.INCONCLUSIVE,
                    f"{what} was there before samples were revoked which it is said not to have seen",
                )

    def of_served(self, served: Constituent) -> Iterator[Statement]:
        if served.checkpoint is None:
            return
        stage = served.stages_trained - 1
        waiting = int((self._is_waiting & (self._slices <= stage)).sum())
        if waiting:
            yield Verdict.INCONCLUSIVE, f"serves on, until it is repaired, what saw {plural(waiting, 'revoked sample')}"
        if served.state is ShardState.APPROXIMATE:
            requests = plural(len(self._lineage.debts), "request")
            yield (
                Verdict.INCONCLUSIVE,
                f"is approximate: patched for {requests}, it descends from what that revoked; "
                "`raymu settle` makes it exact",
            )
            return
        if served.state is ShardState.INCONCLUSIVE:
            yield (
                Verdict.INCONCLUSIVE,
                "is of more than one determinism class: no training from scratch has its bits",
            )
        if served.checkpoint.descent != self._descent(stage):
            yield Verdict.FAIL, f"serves a state of stage {stage} that descends from other samples"

    def _descent(self, stage: int) -> str:
        """Of a state that was trained on slices 0..stage of the samples, and nothing else."""
        return descent_digest(self._hashes[self._slices <= stage], key=self._key)
