"""What was measured in one stage of training: the training loss, and loss and score on held-out samples."""

from dataclasses import dataclass, replace

from raymu.core.records import Remedy


@dataclass(frozen=True, kw_only=True, slots=True)
class StageMeasures:
    """What was measured in one stage. None of it influences the training, except by `validation.patience`."""

    epochs: int | None = None
    """Epochs that were trained: fewer than configured if the stage ended early; None if none were."""
    loss: float | None = None
    """Mean loss per sample in the last epoch, while the weights changed; None if no sample was trained on."""
    validation_loss: float | None = None
    """Mean loss per held-out sample of the state that the stage ends with; None without validation."""
    validation_score: float | None = None
    """Accuracy, or the explained share of the variance of numbers, on held-out samples."""

    def with_validation(self, validation: "Validation | None") -> "StageMeasures":
        """Add what a state was validated by."""
        if validation is None:
            return self
        return replace(self, validation_loss=validation.loss, validation_score=validation.score)


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """One state, measured on held-out samples."""

    loss: float
    score: float

    def is_better_than(self, other: "Validation | None", metric: str) -> bool:
        """Return whether this state is better: of equal ones the earlier is."""
        if other is None:
            return True
        return self.loss < other.loss if metric == "loss" else self.score > other.score


@dataclass(frozen=True, kw_only=True, slots=True)
class StageReport:
    """One trained stage of one shard, as callbacks and `raymu train --json` get it. No field is of a single sample."""

    shard: int
    stage: int
    remedy: Remedy | None
    """None for the first training of a run."""
    epochs: int | None
    """Epochs that were trained; None for a patch."""
    passes: float
    """Sample passes."""
    seconds: float
    """Compute time."""
    loss: float | None
    """Mean training loss per sample in the last epoch; None for a patch, and for a shard without samples."""
    validation_loss: float | None
    """Mean loss per held-out sample; None without `validation`."""
    validation_score: float | None
    """Accuracy, or the explained share of the variance of numbers, on held-out samples."""

    @property
    def measured(self) -> dict[str, float]:
        """What was measured, by name, without what was not."""
        names = ("loss", "validation_loss", "validation_score")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}
