"""The settings that training depends on, as one record."""

from dataclasses import dataclass

import torch

from raymu.config import Config, ModelConfig, TrainingConfig
from raymu.config.data import NormalizeSetting
from raymu.config.training import Component
from raymu.config.unlearning import Contributions


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSpec:
    """A shard's training, without its samples. Equal specs and samples give equal bits within a determinism class."""

    model: ModelConfig
    training: TrainingConfig
    normalize: NormalizeSetting
    input_shape: tuple[int, ...]
    """Shape of one sample's features."""
    classes: int
    seed: int
    epochs: tuple[int, ...]
    """Number of epochs of each stage."""
    groups_per_slice: int | None
    """Fixed batches of a slice, if contributions are recorded by group."""
    workers: int = 1
    """Ranks that share every batch."""
    takes_integers: bool = False
    """Whether the model takes int64, such as the numbers of tokens, and no floats."""

    @property
    def input_dtype(self) -> torch.dtype:
        """Type of the model's inputs."""
        return torch.int64 if self.takes_integers else torch.float32

    @property
    def factories(self) -> dict[str, Component]:
        """The parts of training that a user's factory makes, by the name of the setting."""
        parts: dict[str, Component] = {
            "model": self.model,
            "training.loss": self.training.loss,
            "training.optimizer": self.training.optimizer,
            "training.schedule": self.training.schedule,
        }
        return {name: part for name, part in parts.items() if part.factory}

    @property
    def has_factory(self) -> bool:
        """Whether code of the user's takes part."""
        return bool(self.factories)

    @classmethod
    def of(
        cls, config: Config, *, input_shape: tuple[int, ...], classes: int, takes_integers: bool = False
    ) -> "TrainingSpec":
        """Take from a configuration what training depends on."""
        by_group = config.unlearning.contributions is Contributions.GROUP
        return cls(
            model=config.model,
            training=config.training,
            normalize=config.data.normalize,
            input_shape=input_shape,
            classes=classes,
            seed=config.partition.seed,
            epochs=config.epochs_per_stage,
            groups_per_slice=config.unlearning.groups_per_slice if by_group else None,
            workers=config.cluster.workers_per_shard,
            takes_integers=takes_integers,
        )
