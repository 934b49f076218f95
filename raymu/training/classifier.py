"""A constituent model as it predicts: a module, and the normalisation of what goes into it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.checkpoint_format import deserialize, strip_prefix
from raymu.training.models import build_model
from raymu.training.normalizer import Features, Normalizer
from raymu.training.spec import TrainingSpec

Labels = npt.NDArray[np.int64]
_BATCH = 4096


@dataclass(kw_only=True, slots=True, eq=False)
class Classifier:
    """normalizer: None until a stage has had samples to fit it to"""

    model: nn.Module
    classes: int
    device: torch.device
    normalizer: Normalizer | None = field(default=None)

    @classmethod
    def restore(cls, payload: bytes, plan: TrainingSpec, *, device: torch.device, source: str) -> "Classifier":
        """The classifier of a checkpoint. Raises FileCorrupt."""
        model = build_model(plan.model, input_shape=plan.input_shape, classes=plan.classes).to(device)
        classifier = cls(model=model, classes=plan.classes, device=device)
        classifier.load_tensors(deserialize(payload, source=source))
        return classifier

    def tensors(self) -> dict[str, Tensor]:
        """What predictions are made from, by name."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.normalizer is not None:
            named |= {f"normalizer.{name}": tensor for name, tensor in self.normalizer.tensors().items()}
        return named

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Raises ConfigInvalid where the model is not the one that they were of: a factory's code may have changed."""
        try:
            self.model.load_state_dict(strip_prefix(tensors, "model."))
        except RuntimeError as error:
            raise ConfigInvalid(
                f"model: the run's checkpoints do not fit it ({one_line(error)}); give the factory's code of then"
            ) from error
        fitted = strip_prefix(tensors, "normalizer.")
        self.normalizer = Normalizer(**fitted) if fitted else None

    def inputs(self, features: Features) -> Tensor:
        assert self.normalizer is not None, "a classifier that has seen no sample has no vote"
        return self.normalizer.apply(features, self.device)

    def probabilities(self, features: Features) -> npt.NDArray[np.float32]:
        """features: (samples, *shape) in the source's dtype. returns: (samples, classes) float32"""
        self.model.eval()
        with torch.no_grad():
            parts = [
                self.model(self.inputs(features[start : start + _BATCH])).float().softmax(dim=1).cpu()
                for start in range(0, len(features), _BATCH)
            ]
        return torch.cat([torch.zeros(0, self.classes), *parts]).numpy()

    def mean_loss(self, inputs: Tensor, labels: Tensor) -> float:
        """Mean cross-entropy in nats of the model in evaluation mode. inputs: normalised"""
        self.model.eval()
        total = 0.0
        with torch.no_grad():
            for batch, aims in zip(inputs.split(_BATCH), labels.split(_BATCH), strict=True):
                total += float(F.cross_entropy(self.model(batch), aims, reduction="sum"))
        return total / len(labels)

    def loss_on(self, features: Features, labels: Labels) -> float:
        """mean_loss of samples as they come from a table."""
        return self.mean_loss(self.inputs(features), torch.from_numpy(labels).to(self.device))
