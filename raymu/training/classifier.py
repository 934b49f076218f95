"""A constituent model as it predicts: a module, its loss, and the normalisation of its input."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from raymu.core.arrays import Features, Labels, Probabilities
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.checkpoint_format import deserialize, strip_prefix
from raymu.training.losses import Loss, build_loss
from raymu.training.models import build_model
from raymu.training.normalizer import Normalizer
from raymu.training.spec import TrainingSpec

EVALUATION_BATCH = 4096
"""Samples that are evaluated at once."""


@dataclass(kw_only=True, slots=True, eq=False)
class Classifier:
    """A model of one shard."""

    model: nn.Module
    loss: Loss
    classes: int
    device: torch.device
    normalizer: Normalizer | None = field(default=None)
    """None until a stage has samples to fit it to."""

    @classmethod
    def build(cls, spec: TrainingSpec, *, device: torch.device) -> "Classifier":
        """Build the configured model with new weights from torch's random state. Raises ConfigInvalid."""
        model = build_model(spec.model, input_shape=spec.input_shape, classes=spec.classes).to(device)
        loss = build_loss(spec.training.loss, classes=spec.classes)
        return cls(model=model, loss=loss, classes=spec.classes, device=device)

    @classmethod
    def restore(cls, payload: bytes, spec: TrainingSpec, *, device: torch.device, source: str) -> "Classifier":
        """Build the classifier of a checkpoint. Raises FileCorrupt, naming `source`, and ConfigInvalid."""
        classifier = cls.build(spec, device=device)
        classifier.load_tensors(deserialize(payload, source=source))
        return classifier

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that predictions depend on, by name: parameters, buffers, normalisation."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.normalizer is not None:
            named |= {f"normalizer.{name}": tensor for name, tensor in self.normalizer.tensors().items()}
        return named

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned.

        Raises:
            ConfigInvalid: They are of another model; a factory's code may have changed.
        """
        try:
            self.model.load_state_dict(strip_prefix(tensors, "model."))
        except RuntimeError as error:
            raise ConfigInvalid(
                f"model: the run's checkpoints do not fit it ({one_line(error)}); restore the factory's former code"
            ) from error
        fitted = strip_prefix(tensors, "normalizer.")
        self.normalizer = Normalizer(**fitted) if fitted else None

    def preprocess(self, features: Features) -> Tensor:
        """Normalise features. Returns (samples, *shape) float32 on the device."""
        assert self.normalizer is not None, "a classifier that was never trained has no vote"
        return self.normalizer.apply(features, self.device)

    def logits(self, features: Features | Tensor) -> Iterator[Tensor]:
        """Run the model in evaluation mode, a batch at a time. Gradients are tracked unless the caller turns them off.

        Args:
            features: (samples, *shape): as in the training file, or a tensor that `preprocess` returned.

        Yields:
            (batch, classes) of consecutive samples.
        """
        self.model.eval()
        for start in range(0, len(features), EVALUATION_BATCH):
            batch = features[start : start + EVALUATION_BATCH]
            yield self.model(batch if isinstance(batch, Tensor) else self.preprocess(batch))

    def probabilities(self, features: Features) -> Probabilities:
        """Predict.

        Args:
            features: (samples, *shape), of the dtype of the training file.

        Returns:
            (samples, classes) float32.
        """
        with torch.no_grad():
            parts = [logits.float().softmax(dim=1).cpu() for logits in self.logits(features)]
        return torch.cat([torch.zeros(0, self.classes), *parts]).numpy()

    def mean_loss(self, features: Features | Tensor, labels: Labels | Tensor) -> float:
        """Compute the mean loss per sample in evaluation mode: in nats, if it is cross-entropy.

        Args:
            features: As for `logits`.
            labels: (samples,) int64.
        """
        targets = torch.as_tensor(labels).to(self.device).split(EVALUATION_BATCH)
        total = 0.0
        with torch.no_grad():
            for logits, batch_targets in zip(self.logits(features), targets, strict=True):
                total += float(self.loss(logits, batch_targets, "sum"))
        return total / len(labels)
