"""Targets as a model is trained on them, and what its outputs say: one row of `TARGETS` for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from raymu.config import TargetName


class Target(Protocol):
    """One kind of target."""

    has_membership: bool
    """Whether membership inference has a meaning: it asks how sure a model is of the truth."""

    def blank(self, samples: int, outputs: int) -> Tensor:
        """Return targets to try a model on, as they are of samples that are nothing in particular."""
        ...

    def predict(self, outputs: Tensor) -> Tensor:
        """Convert outputs, (samples, outputs), to predictions of the same shape: probabilities or numbers."""
        ...

    def confidence(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how sure the outputs are of the truth: (samples,) float64, higher for surer."""
        ...

    def is_correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Tell which samples are predicted right: (samples,) bool."""
        ...

    def agreement(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return how far predictions agree with the truth: (samples,) within [0, 1]."""
        ...

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw targets by what the outputs say of them."""
        ...


@dataclass(frozen=True, slots=True)
class Classes:
    """One class a sample: (samples,) int64. Outputs are logits."""

    has_membership = True

    def blank(self, samples: int, outputs: int) -> Tensor:
        return torch.zeros(samples, dtype=torch.int64)

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.float().softmax(dim=1)

    def confidence(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute log(p / (1 - p)) of each true class's probability p, from the logits: exact even if p rounds to 1."""
        logits, true_class = outputs.double(), targets[:, None]
        others = logits.scatter(1, true_class, -torch.inf).logsumexp(dim=1)
        return logits.gather(1, true_class).squeeze(1) - others

    def is_correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.argmax(dim=1) == targets

    def agreement(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return predictions.gather(1, targets[:, None]).squeeze(1)

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a class for each sample by the softmax of its logits, as the argmax with Gumbel noise."""
        noise = torch.empty(outputs.shape).exponential_(generator=generator).log_().to(outputs)
        return (outputs - noise).argmax(dim=1)


@dataclass(frozen=True, slots=True)
class SeveralLabels:
    """Any number of labels a sample: (samples, labels) float32 of 0 and 1. Outputs are logits, one a label."""

    has_membership = True

    def blank(self, samples: int, outputs: int) -> Tensor:
        return torch.zeros(samples, outputs)

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.float().sigmoid()

    def confidence(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the log odds of the probability that all labels are right."""
        log_p = F.logsigmoid(outputs.double() * (2.0 * targets.double() - 1.0)).sum(dim=1)
        return log_p - torch.log(-torch.expm1(log_p.clamp(max=-1e-300)))

    def is_correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs > 0) == (targets > 0.5)).all(dim=1)

    def agreement(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return torch.where(targets > 0.5, predictions, 1.0 - predictions).mean(dim=1)

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(outputs.shape, generator=generator).to(outputs)
        return (uniform < outputs.sigmoid()).to(outputs)


@dataclass(frozen=True, slots=True)
class Numbers:
    """One number or several a sample: (samples, numbers) float32, standardised as the samples' features are."""

    has_membership = False

    def blank(self, samples: int, outputs: int) -> Tensor:
        return torch.zeros(samples, outputs)

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.float()

    def confidence(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error, negative."""
        return -(outputs.double() - targets.double()).square().mean(dim=1)

    def is_correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Tell which samples have no error above 1, which is a standard deviation where targets are standardised."""
        return ((outputs - targets).abs() <= 1.0).all(dim=1)

    def agreement(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return 1 for no error, and less for larger ones: exp(-error)."""
        return (predictions - targets).abs().mean(dim=1).neg().exp()

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw numbers of a standard deviation of 1 about the outputs."""
        return outputs + torch.randn(outputs.shape, generator=generator).to(outputs)


TARGETS: Mapping[TargetName, Target] = {
    TargetName.CLASSES: Classes(),
    TargetName.LABELS: SeveralLabels(),
    TargetName.REGRESSION: Numbers(),
}
