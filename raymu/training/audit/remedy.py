"""The remedy that an audit repeats on one shard: what was done for the audited requests, as a record."""

from dataclasses import dataclass

from raymu.config import UnlearningConfig
from raymu.core.partition import Hashes
from raymu.core.records import Remedy
from raymu.training.batches import ShardSamples


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditedRepair:
    """One repair of a shard, reduced to the audited samples."""

    remedy: Remedy
    forget: Hashes
    """(samples,) uint64, hashes of the samples that it forgot."""
    earliest_slice: int
    """The first slice that one of these samples is in, or one of a patch since the last retraining."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditedRemedy:
    """All repairs of one shard for the audited requests."""

    repairs: tuple[AuditedRepair, ...]
    """In their order. Those before the last retraining are one with it. Nothing is repeated if there are none."""
    unlearning: UnlearningConfig
    """How the run patches."""
    references: tuple[bytes, ...] = ()
    """Checkpoints of the other shards that a calibration aims at."""
    unseen: ShardSamples | None = None
    """Samples of the first reference's shard, by which fine-tuning ends; None if no repair fine-tunes."""

    @property
    def is_retrained(self) -> bool:
        """Whether the last repair is a retraining, after which nothing is approximate."""
        return bool(self.repairs) and self.repairs[-1].remedy is Remedy.RETRAIN
