"""A constituent model as it predicts: a module, its loss, and the normalisation of its input."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from raymu.core.arrays import Features, Labels, Probabilities
from raymu.core.partition import derive_seed
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.checkpoint_format import deserialize, read_metadata, strip_prefix
from raymu.training.losses import Loss, build_loss
from raymu.training.model_state import ModelState
from raymu.training.models import build_model
from raymu.training.normalizer import Normalizer
from raymu.training.randomness import random_state_kept, seed_everything
from raymu.training.spec import TrainingSpec

EVALUATION_BATCH = 4096
"""Samples that are evaluated at once."""
_BUILDING = threading.Lock()
"""Held while a model is built from seeded random numbers, which all threads share."""


def weights_seed(spec: TrainingSpec, shard: int) -> int:
    """Return the seed of a shard's new model."""
    return derive_seed(spec.seed, shard, "weights")


@dataclass(kw_only=True, slots=True, eq=False)
class Classifier:
    """A model of one shard."""

    model: nn.Module
    loss: Loss
    classes: int
    device: torch.device
    normalizer: Normalizer | None = field(default=None)
    """None until a stage has samples to fit it to."""
    _state: ModelState = field(init=False)

    def __post_init__(self) -> None:
        self._state = ModelState(self.model)

    @classmethod
    def build(cls, spec: TrainingSpec, *, device: torch.device) -> "Classifier":
        """Build the configured model with new weights from torch's random state. Raises ConfigInvalid."""
        model = build_model(spec.model, input_shape=spec.input_shape, classes=spec.classes).to(device)
        loss = build_loss(spec.training.loss, classes=spec.classes)
        return cls(model=model, loss=loss, classes=spec.classes, device=device)

    @classmethod
    def restore(cls, payload: bytes, spec: TrainingSpec, *, device: torch.device, source: str) -> "Classifier":
        """Build the classifier of a checkpoint. Raises FileCorrupt, naming `source`, and ConfigInvalid.

        The model is built as its training began: what it draws then, and keeps outside of its state, is the same.
        """
        tensors = deserialize(payload, source=source)
        shard = read_metadata(payload).get("shard", 0)
        with _BUILDING, random_state_kept(device):
            seed_everything(weights_seed(spec, shard))
            classifier = cls.build(spec, device=device)
        classifier.load_tensors(tensors)
        return classifier

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that predictions depend on, by name: parameters, buffers, normalisation."""
        named = self._state.tensors()
        if self.normalizer is not None:
            named |= {f"normalizer.{name}": tensor for name, tensor in self.normalizer.tensors().items()}
        return named

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned.

        Raises:
            ConfigInvalid: They are of another model; a factory's code may have changed.
        """
        try:
            self._state.load(tensors)
        except (RuntimeError, AttributeError) as error:
            raise ConfigInvalid(
                f"model: the run's checkpoints do not fit it ({one_line(error)}); restore the factory's former code"
            ) from error
        fitted = strip_prefix(tensors, "normalizer.")
        self.normalizer = Normalizer(**fitted) if fitted else None

    def preprocess(self, features: Features) -> Tensor:
        """Normalise features. Returns (samples, *shape) float32, or int64 for a model that takes these, on the device."""
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
            yield self._forward(batch if isinstance(batch, Tensor) else self.preprocess(batch))

    def _forward(self, inputs: Tensor) -> Tensor:
        """Run the model. One sample is predicted beside a copy of itself if the model's own code refuses it alone."""
        if len(inputs) != 1:
            logits: Tensor = self.model(inputs)
            return logits
        try:
            logits = self.model(inputs)
        except Exception:  # of the model's own code; beside its copy, what is wrong otherwise is raised again
            return self._beside_a_copy(inputs)
        return logits if logits.shape == (1, self.classes) else self._beside_a_copy(inputs)

    def _beside_a_copy(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs.repeat_interleave(2, dim=0))
        return logits[:1]

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
