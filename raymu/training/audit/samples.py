"""The samples that one shard is audited on."""

from dataclasses import dataclass, replace
from enum import StrEnum

from raymu.config import Device
from raymu.core.arrays import Mask
from raymu.core.audit.signals import shadow_members
from raymu.core.partition import derive_seed
from raymu.training.batches import ShardSamples
from raymu.training.spec import TrainingSpec


class ModelKind(StrEnum):
    """Kind of a model of an audit, by the samples that it is trained on."""

    ORACLE = "oracle"
    """The retained samples. Number 0 has the run's own seed and is what settling gives; each other has a seed of its own."""
    BEFORE = "before"
    """The retained and the forgotten samples. Its seed is that of the oracle with the same number."""
    SHADOW = "shadow"
    """Half of all."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditSamples:
    """A shard's retained samples, its forgotten ones, and about as many that it never saw.

    So half of them are as many as the shard was trained on, and shadow models are like the shard's.
    """

    spec: TrainingSpec
    """Training spec of the run."""
    shard: int
    device: Device
    """Configured device."""
    threads: int
    samples: ShardSamples
    """Samples of all three kinds."""
    is_forgotten: Mask
    """(samples,)"""
    is_unseen: Mask
    """(samples,)"""

    @classmethod
    def gather(
        cls,
        retain: ShardSamples,
        forget: ShardSamples,
        unseen: ShardSamples,
        *,
        spec: TrainingSpec,
        shard: int,
        device: Device,
        threads: int,
    ) -> "AuditSamples":
        """Put the three kinds together."""
        samples = ShardSamples.joined([retain, forget, unseen])
        return cls(
            spec=spec,
            shard=shard,
            device=device,
            threads=threads,
            samples=samples,
            is_forgotten=samples.isin(forget.hashes),
            is_unseen=samples.isin(unseen.hashes),
        )

    @property
    def is_retained(self) -> Mask:
        return ~(self.is_forgotten | self.is_unseen)

    def spec_of(self, kind: ModelKind, number: int) -> TrainingSpec:
        """Return the training spec of a model, with the model's own seed."""
        if kind is ModelKind.SHADOW or not number:
            return self.spec
        return replace(self.spec, seed=derive_seed(self.spec.seed, "oracle", number))

    def members(self, kind: ModelKind, number: int) -> Mask:
        """Select what a model is trained on. Returns (samples,) bool."""
        match kind:
            case ModelKind.ORACLE:
                return self.is_retained
            case ModelKind.BEFORE:
                return ~self.is_unseen
            case ModelKind.SHADOW:
                return shadow_members(self.samples.hashes, number, seed=self.spec.seed)
