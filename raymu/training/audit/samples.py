"""The samples that one shard is audited on."""

from dataclasses import dataclass
from enum import StrEnum

from raymu.config import Device
from raymu.core.audit.signals import shadow_members
from raymu.training.batches import Mask, ShardSamples
from raymu.training.spec import TrainingSpec


class ModelKind(StrEnum):
    """What a model of an audit is trained on."""

    ORACLE = "oracle"
    """The retained samples. Number 0 has the run's own seed: it is what settling would give; the others have theirs."""
    BEFORE = "before"
    """The retained and the forgotten samples."""
    SHADOW = "shadow"
    """Half of the pool."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditSamples:
    """A shard's retained samples, its forgotten ones, and about as many that it never saw.

    So half of the pool is as much as the shard was trained on, and shadow models are models like the shard's.
    plan: of the run; device, threads: of its shards; samples: of all three kinds; is_*: (samples,) bool
    """

    plan: TrainingSpec
    shard: int
    device: Device
    threads: int
    samples: ShardSamples
    is_forgotten: Mask
    is_unseen: Mask

    @classmethod
    def gather(
        cls,
        retain: ShardSamples,
        forget: ShardSamples,
        unseen: ShardSamples,
        *,
        plan: TrainingSpec,
        shard: int,
        device: Device,
        threads: int,
    ) -> "AuditSamples":
        samples = ShardSamples.joined([retain, forget, unseen])
        return cls(
            plan=plan,
            shard=shard,
            device=device,
            threads=threads,
            samples=samples,
            is_forgotten=samples.held_in(forget.hashes),
            is_unseen=samples.held_in(unseen.hashes),
        )

    @property
    def is_retained(self) -> Mask:
        return ~(self.is_forgotten | self.is_unseen)

    def members(self, kind: ModelKind, number: int) -> Mask:
        """What a model is trained on. returns: (samples,) bool"""
        match kind:
            case ModelKind.ORACLE:
                return self.is_retained
            case ModelKind.BEFORE:
                return ~self.is_unseen
            case ModelKind.SHADOW:
                return shadow_members(self.samples.hashes, number, seed=self.plan.seed)
