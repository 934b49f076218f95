"""Small models of one architecture, evaluated together: their weights are stacked, and each layer is one batched product.

A model of a few thousand parameters takes microseconds for a few samples, and calling its layers takes longer than that.
The predictions have the bits of the single models: noise shows for each number of samples whether a batched product adds
up in the same order, and where it does not, the models are called one after another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from raymu.core.arrays import Features
from raymu.training.classifier import Classifier
from raymu.training.encoder import Encoder
from raymu.training.tasks.tensor import TensorTask

MOST_WORK, MOST_SAMPLES = 2**20, 256
"""Samples times parameters of one model, and samples, up to which a batched product is faster: experiments/prediction.py."""
_NOISE_ROWS = 64
"""Samples of noise that show whether the bits are the same. The order of sums depends on shapes, and not on values."""
ELEMENTWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Dropout,
    nn.Identity,
)
"""Layers that compute each number alone."""
_Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StackedModels:
    """The models of several classifiers, stacked."""

    classifiers: Sequence[Classifier]
    parameters: int
    """Parameters of one model."""
    mean: Tensor
    """(models, 1, *sample), or with ones for dimensions of a sample."""
    scale: Tensor
    """As `mean`."""
    limit: float
    layers: Sequence[_Layer]
    """Each takes and returns (models, samples, *shape)."""
    units: tuple[Tensor, Tensor] | None
    """(models, 1, outputs) the scale of targets, and their mean; None if they are not standardised."""
    _has_same_bits: dict[int, bool] = field(default_factory=dict)
    """Number of samples -> whether the single models give the same bits."""

    @classmethod
    def of(cls, classifiers: Sequence[Classifier], input_shape: tuple[int, ...]) -> "StackedModels | None":
        """Stack the models of loaded classifiers; None where that is of no use, or not possible.

        Layers that have weights must be linear ones in a plain `nn.Sequential`. Together, others have
        other bits than alone, and code of the user's may do anything.
        """
        first, *others = classifiers
        encoders = [classifier.encoder for classifier in classifiers if classifier.encoder is not None]
        parameters = sum(parameter.numel() for parameter in first.model.parameters())
        if not others or parameters > MOST_WORK or len(encoders) < len(classifiers):
            return None
        if not all(map(is_plain, classifiers)) or len({float(encoder.fitted["limit"]) for encoder in encoders}) > 1:
            return None
        layers = _stacked_layers([classifier.model for classifier in classifiers])
        if layers is None:
            return None
        device = first.device
        return cls(
            classifiers=classifiers,
            parameters=parameters,
            mean=_stacked_by_sample([encoder.fitted["mean"] for encoder in encoders], input_shape, device),
            scale=_stacked_by_sample([encoder.fitted["scale"] for encoder in encoders], input_shape, device),
            limit=float(encoders[0].fitted["limit"]),
            layers=layers,
            units=_stacked_units(encoders, device),
        )

    def takes(self, features: Features) -> bool:
        """Return whether these samples are predicted together, which is so if it is faster and has the same bits."""
        samples = len(features)
        if not samples or samples > MOST_SAMPLES or samples * self.parameters > MOST_WORK:
            return False
        if samples not in self._has_same_bits:
            self._has_same_bits[samples] = self._gives_same_bits(features)
        return self._has_same_bits[samples]

    def predict(self, features: Features) -> Tensor:
        """Predict (models, samples, outputs) float32. Gradients are not tracked if the caller turns them off."""
        wide = np.float64 if self.mean.dtype == torch.float64 else np.float32
        values = torch.from_numpy(np.array(features, dtype=wide, order="C")).to(self.mean.device)
        values = values.sub(self.mean).mul_(self.scale).float()
        if self.limit < np.inf:
            values.clamp_(-self.limit, self.limit)
        for layer in self.layers:
            values = layer(values)
        predictions = self._predicted(values)
        if self.units is None:
            return predictions
        scale, mean = self.units
        return predictions / scale + mean

    def _predicted(self, outputs: Tensor) -> Tensor:
        models, samples, width = outputs.shape
        return self.classifiers[0].target.predict(outputs.reshape(models * samples, width)).view(models, samples, width)

    def _gives_same_bits(self, like: Features) -> bool:
        generator = np.random.default_rng(0)
        for _ in range(-(-_NOISE_ROWS // len(like))):
            noise = (generator.normal(size=like.shape) * 3.0).astype(np.float32)
            alone = torch.stack([torch.from_numpy(each.probabilities(noise)) for each in self.classifiers])
            if not torch.equal(self.predict(noise).cpu(), alone):
                return False
        return True


def is_plain(classifier: Classifier) -> bool:
    """Return whether a classifier's inputs and its model are known to the last detail."""
    numerics, encoder = classifier.numerics, classifier.encoder
    return (
        type(classifier.task) is TensorTask
        and classifier.backbone is None
        and numerics.precision == "float32"
        and encoder is not None
        and encoder.fitted["mean"].dtype.is_floating_point
        and not (encoder.fitted["mean"].dtype == torch.float64 and classifier.device.type != "cpu")
        and type(classifier.model) is nn.Sequential
        and not any(module._forward_hooks or module._forward_pre_hooks for module in classifier.model.modules())
    )


def _stacked_layers(models: Sequence[nn.Module]) -> list[_Layer] | None:
    """Return the layers of all models, one after another; None if one of them is of another kind."""
    stacked: list[_Layer] = []
    is_flat = False
    for layers in zip(*(model.children() for model in models), strict=True):
        first = layers[0]
        if any(type(layer) is not type(first) for layer in layers):
            return None
        if type(first) is nn.Flatten and (first.start_dim, first.end_dim) == (1, -1):
            stacked.append(_flat)
            is_flat = True
        elif type(first) is nn.Linear and is_flat:
            linear = _stacked_linear([layer for layer in layers if isinstance(layer, nn.Linear)])
            if linear is None:
                return None
            stacked.append(linear)
        elif type(first) in ELEMENTWISE:
            stacked.append(first)
        else:
            return None
    return stacked


def _flat(values: Tensor) -> Tensor:
    return values.flatten(2)


def _stacked_linear(layers: Sequence[nn.Linear]) -> _Layer | None:
    if len({layer.weight.shape for layer in layers}) > 1 or layers[0].bias is None:
        return None
    weights = torch.stack([layer.weight.detach() for layer in layers]).transpose(1, 2)
    biases = torch.stack([layer.bias.detach() for layer in layers]).unsqueeze(1)
    return lambda values: torch.baddbmm(biases, values, weights)


def _stacked_by_sample(tensors: Sequence[Tensor], input_shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Stack tensors that broadcast against one sample, so that they do so against (models, samples, *sample)."""
    missing = (1,) * (len(input_shape) - tensors[0].dim())
    return torch.stack([tensor.reshape(1, *missing, *tensor.shape) for tensor in tensors]).to(device)


def _stacked_units(encoders: Sequence[Encoder], device: torch.device) -> tuple[Tensor, Tensor] | None:
    scales = [encoder.target_scale for encoder in encoders if encoder.target_scale is not None]
    means = [encoder.target_mean for encoder in encoders if encoder.target_mean is not None]
    if len(scales) < len(encoders) or len(means) < len(encoders):
        return None
    return torch.stack(scales).unsqueeze(1).to(device), torch.stack(means).unsqueeze(1).to(device)
