"""A shard of a new run whose files are written, by whichever process."""

from dataclasses import dataclass

from raymu.core.partition import Hashes
from raymu.core.records import SampleFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FinishedShard:
    """What the run's creator has to know of a shard: its files, and what its routes are made of."""

    shard: int
    files: SampleFiles
    routed: Hashes | None = None
    """(routes,) uint64, ascending: the keyed hashes that lead to the shard; None for a run without routes."""
