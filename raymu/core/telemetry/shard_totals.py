"""Totals over all shards, kept up to date by the shards that changed."""

from collections import Counter
from collections.abc import Sequence

from raymu.core.records import ShardLineage
from raymu.core.workload import settle_passes


class ShardTotals:
    """Counts what the shards are and owe. A shard whose lineage is the same object as before takes no time."""

    def __init__(self) -> None:
        """Count no shard."""
        self.exactness: Counter[str] = Counter()
        """Exactness -> number of shards."""
        self.samples = 0
        self.debt_shards = 0
        """Number of shards that were patched and not retrained yet."""
        self.debt_passes = 0
        """Sample passes of retraining them."""
        self._counted: list[ShardLineage] = []
        self._epochs: tuple[int, ...] = ()

    def update(self, lineages: Sequence[ShardLineage], epochs: tuple[int, ...]) -> None:
        """Take up the lineages that changed. epochs: those of each stage"""
        if epochs != self._epochs or len(lineages) != len(self._counted):
            for lineage in self._counted:
                self._add(lineage, sign=-1)
            self._counted, self._epochs = [*lineages], epochs
            for lineage in lineages:
                self._add(lineage, sign=1)
            return
        for shard, (before, now) in enumerate(zip(self._counted, lineages, strict=True)):
            if before is not now:
                self._add(before, sign=-1)
                self._add(now, sign=1)
                self._counted[shard] = now

    def _add(self, lineage: ShardLineage, *, sign: int) -> None:
        self.exactness[str(lineage.exactness)] += sign
        self.samples += sign * lineage.samples
        self.debt_shards += sign * bool(lineage.debts)
        self.debt_passes += sign * settle_passes([lineage], self._epochs)
