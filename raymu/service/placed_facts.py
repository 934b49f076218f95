"""What is known of the placed samples of some parts of a table, without the samples themselves."""

from itertools import zip_longest

import numpy as np

from raymu.core.arrays import Targets
from raymu.data.rows import Rows, joined_rows
from raymu.data.table_batches import Findings
from raymu.service.placement import NamedRow, PlacedBatch
from raymu.service.shard_tables import LeftOut
from raymu.training.row_checks import PROBE_SAMPLES

HEAD_ROWS = 256
"""Samples that a model of the user's is tried on."""


class PlacedFacts:
    """Collects what is known of parts, which are added in the order of their rows. Its size does not grow with the rows."""

    def __init__(self, *, shards: int, names: tuple[str, ...]) -> None:
        """Begin without rows.

        Args:
            shards: Number of shards.
            names: The columns of features, for messages.
        """
        self._names = names
        self._kept: list[tuple[Rows, Targets]] = []
        self.findings = Findings()
        self.counts = np.zeros(shards, dtype=np.int64)
        """(shards,) samples, those that are left out too."""
        self.lowest: Targets | None = None
        """(shards, outputs) the lowest label of each shard that has samples."""
        self.highest: Targets | None = None
        self.named: list[NamedRow] = []
        """Samples that may be left out."""
        self.revoked = 0
        """Samples that were revoked, and are left out."""
        self.refused: tuple[int, ...] = ()
        """Samples for which the table is refused, by each of `Placement.refused`."""
        self.head: Rows | None = None
        """The first samples, as the table has them."""

    def add(self, batch: PlacedBatch) -> bool:
        """Add a part. Returns whether nothing was found in any part that makes the table unfit."""
        self.findings.add(batch.findings, self._names)
        if not self.findings.is_sound:
            return False
        self.counts += batch.counts
        assert batch.lowest is not None
        assert batch.highest is not None
        self.lowest = batch.lowest if self.lowest is None else np.minimum(self.lowest, batch.lowest)
        self.highest = batch.highest if self.highest is None else np.maximum(self.highest, batch.highest)
        self.named += batch.named
        self.revoked += batch.revoked
        self.refused = tuple(map(sum, zip_longest(self.refused, batch.refused, fillvalue=0)))
        self.head = batch.head if self.head is None else self.head
        missing = PROBE_SAMPLES - sum(len(labels) for _, labels in self._kept)
        if missing and batch.kept is not None and batch.kept_labels is not None and len(batch.kept_labels):
            self._kept.append((batch.kept[:missing], batch.kept_labels[:missing]))
        return True

    def together(self) -> PlacedBatch:
        """Return what is known as that of one part."""
        kept, labels = self.few() if self._kept else (None, None)
        return PlacedBatch(
            findings=self.findings,
            counts=self.counts,
            lowest=self.lowest,
            highest=self.highest,
            named=tuple(self.named),
            revoked=self.revoked,
            refused=self.refused,
            head=self.head,
            kept=kept,
            kept_labels=labels,
        )

    def samples(self, left_out: LeftOut) -> int:
        """Return how many samples are left without those that are left out, or that other runs revoked."""
        ids, owners = frozenset(left_out.ids), frozenset(left_out.owners)
        named = sum(not row.is_revoked and (row.sample_id in ids or row.owner in owners) for row in self.named)
        return self.findings.rows - self.revoked - named

    def few(self) -> tuple[Rows, Targets]:
        """Return some samples that are left, as the run keeps them, and their labels."""
        if not self._kept:
            assert self.head is not None, "a table has rows"
            return self.head[:0], np.zeros(0, dtype=np.int64)
        return joined_rows([rows for rows, _ in self._kept]), np.concatenate([labels for _, labels in self._kept])
