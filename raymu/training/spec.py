"""Moved here."""

from dataclasses import dataclass

from raymu.config import Config, ModelConfig, Normalization, TrainingConfig
from raymu.config.stage_epochs import epochs_per_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSpec:
    """Everything that a shard's training depends on, besides its samples."""

    model: ModelConfig
    training: TrainingConfig
    normalize: str | Normalization
    input_shape: tuple[int, ...]
    classes: int
    seed: int
    epochs: tuple[int, ...]
    """Of each stage."""
    groups_per_slice: int | None
    """Fixed batches, where contributions are recorded by group."""
    workers: int = 1
    """Ranks that share every batch."""

    @classmethod
    def of(cls, config: Config, *, input_shape: tuple[int, ...], classes: int) -> "TrainingSpec":
        """Raises ValueError where a stage would get no epoch."""
        by_group = config.unlearning.contributions == "group"
        return cls(
            model=config.model,
            training=config.training,
            normalize=config.data.normalize,
            input_shape=input_shape,
            classes=classes,
            seed=config.partition.seed,
            epochs=epochs_per_stage(config.training.epochs, config.partition.slices),
            groups_per_slice=config.unlearning.groups_per_slice if by_group else None,
            workers=config.cluster.workers_per_shard,
        )
