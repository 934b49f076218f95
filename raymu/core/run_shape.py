"""The facts of a run that the cost of every remedy depends on."""

from dataclasses import dataclass, replace
from typing import Self

from raymu.config import Config, UnlearningConfig
from raymu.config.stage_epochs import epochs_per_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class RunShape:
    """The stages of a run, its settings of unlearning, and a property of its model."""

    unlearning: UnlearningConfig
    epochs: tuple[int, ...]
    """Epochs of each stage."""
    has_batch_norm: bool = False
    """Whether the model has batch-norm layers, whose statistics a patch computes anew."""

    @classmethod
    def of(cls, config: Config, *, has_batch_norm: bool = False) -> Self:
        """Derive the shape of a run from its configuration."""
        epochs = epochs_per_stage(config.training.epochs, config.partition.slices)
        return cls(unlearning=config.unlearning, epochs=epochs, has_batch_norm=has_batch_norm)

    def extended(self, epochs: tuple[int, ...]) -> Self:
        """Return the shape with the stages of added slices."""
        return replace(self, epochs=self.epochs + epochs)

    @property
    def slices(self) -> int:
        return len(self.epochs)
