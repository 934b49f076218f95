"""A constituent model as it predicts: a module, and the normalisation of what goes into it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.config import Config, ModelConfig, Normalization, TrainingConfig
from raymu.core.schedule import slice_epochs
from raymu.errors import ConfigInvalid, in_one_line
from raymu.learn.models import build_model
from raymu.learn.weights import below, unpack

Features = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]

PIXELS = (np.dtype(np.uint8), np.dtype(np.uint16))
"""Types whose whole range is [0, 1] to a model; integers of other types are rarely pixels over all of theirs."""
CLIP_AT = 8.0
"""Standard deviations: a feature that hardly varies in the first slice would otherwise dominate all others."""
_BATCH = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
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
    def of(cls, config: Config, *, input_shape: tuple[int, ...], classes: int) -> "ModelPlan":
        """Raises ValueError where a stage would get no epoch."""
        by_group = config.unlearning.contributions == "group"
        return cls(
            model=config.model,
            training=config.training,
            normalize=config.data.normalize,
            input_shape=input_shape,
            classes=classes,
            seed=config.partition.seed,
            epochs=slice_epochs(config.training.epochs, config.partition.slices),
            groups_per_slice=config.unlearning.groups_per_slice if by_group else None,
            workers=config.cluster.workers_per_shard,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Normalizer:
    """(x - mean) * scale, clipped. mean, scale: broadcast against one sample; limit: (1,); all float32"""

    mean: Tensor
    scale: Tensor
    limit: Tensor

    @classmethod
    def fit(cls, features: Features, kind: str | Normalization) -> "Normalizer":
        """Fit to the first slice that has samples, or take what the configuration fixes. features: (samples, *shape)"""
        mean, scale, limit = np.zeros(1), np.ones(1), np.inf
        match kind:
            case Normalization():
                mean, scale = np.full(1, kind.mean), np.full(1, 1.0 / kind.std)
                if features.dtype in PIXELS:  # published means and deviations are of pixels in [0, 1]
                    largest = np.iinfo(features.dtype).max
                    mean, scale = mean * largest, scale / largest
            case "unit":
                scale = np.full(1, 1.0 / np.iinfo(features.dtype).max)
            case "shard":
                mean = features.mean(axis=0, dtype=np.float64)
                deviation = features.std(axis=0, dtype=np.float64)
                scale, limit = 1.0 / np.where(deviation > 0.0, deviation, 1.0), CLIP_AT
        return cls(mean=_float32(mean), scale=_float32(scale), limit=_float32(np.full(1, limit)))

    def apply(self, features: Features, device: torch.device) -> Tensor:
        """returns: (samples, *shape) float32 on the device"""
        values = torch.from_numpy(np.array(features, dtype=np.float32, order="C")).to(device)
        values.sub_(self.mean.to(device)).mul_(self.scale.to(device))
        limit = float(self.limit)
        return values.clamp_(-limit, limit) if np.isfinite(limit) else values

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "scale": self.scale, "limit": self.limit}


def _float32(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


@dataclass(kw_only=True, slots=True, eq=False)
class Classifier:
    """normalizer: None until a stage has had samples to fit it to"""

    model: nn.Module
    classes: int
    device: torch.device
    normalizer: Normalizer | None = field(default=None)

    @classmethod
    def restore(cls, payload: bytes, plan: ModelPlan, *, device: torch.device, source: str) -> "Classifier":
        """The classifier of a checkpoint. Raises FileCorrupt."""
        model = build_model(plan.model, input_shape=plan.input_shape, classes=plan.classes).to(device)
        classifier = cls(model=model, classes=plan.classes, device=device)
        classifier.load_tensors(unpack(payload, source=source))
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
            self.model.load_state_dict(below(tensors, "model."))
        except RuntimeError as error:
            raise ConfigInvalid(
                f"model: the run's checkpoints do not fit it ({in_one_line(error)}); give the factory's code of then"
            ) from error
        fitted = below(tensors, "normalizer.")
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
