"""Models that are plain sequences of known layers, predicted one after another over memory that is used again.

Each layer computes what it computes when the model is called, with the same bits. What is saved is a copy of the samples
for each model, a new array for each layer, and what `torch.nn.Module` does around a layer: a quarter of the time of a
small model (experiments/prediction.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from raymu.core.arrays import Features
from raymu.training.classifier import Classifier
from raymu.training.stacked import ELEMENTWISE, is_plain

Scratch: TypeAlias = dict[tuple[int, ...], Tensor]
"""Memory for the outputs of layers, by place and shape. Those of one model are done with before the next is called."""

_LAYERS = (
    *ELEMENTWISE,
    nn.Flatten,
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.LayerNorm,
)
_NOTHING = (nn.Dropout, nn.Identity)
"""Layers that do nothing in evaluation mode."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlainModels:
    """The models of several classifiers on the CPU."""

    classifiers: Sequence[Classifier]
    layers: Sequence[Sequence[nn.Module]]
    """Of each model, without those that do nothing."""
    _has_same_bits: dict[int, bool] = field(default_factory=dict)
    """Number of samples -> whether the models give the same bits when they are called."""

    @classmethod
    def of(cls, classifiers: Sequence[Classifier]) -> "PlainModels | None":
        """Take the models of loaded classifiers; None if one of them may be anything else than plain."""
        models = [classifier.model for classifier in classifiers]
        is_known = all(type(layer) in _LAYERS for model in models for layer in model.children())
        if not is_known or not all(map(is_plain, classifiers)) or classifiers[0].device.type != "cpu":
            return None
        layers = [[layer for layer in model.children() if type(layer) not in _NOTHING] for model in models]
        return cls(classifiers=classifiers, layers=layers)

    def takes(self, features: Features) -> bool:
        """Return whether so many samples have the bits that they have when the models are called, as noise shows."""
        samples = len(features)
        if samples not in self._has_same_bits:
            generator = np.random.default_rng(0)
            noise = (generator.normal(size=features.shape) * 3.0).astype(np.float32)
            alone = torch.stack([torch.from_numpy(each.probabilities(noise)) for each in self.classifiers])
            self._has_same_bits[samples] = torch.equal(self.predict(noise, {}), alone)
        return self._has_same_bits[samples]

    @torch.no_grad()
    def predict(self, features: Features, scratch: Scratch) -> Tensor:
        """Predict (models, samples, outputs) float32. Gradients are not tracked.

        Args:
            features: (samples, *shape).
            scratch: Memory that calls which come one after another share; empty at first.
        """
        first = self.classifiers[0]
        wide = np.float64 if self._fitted(first, "mean").dtype == torch.float64 else np.float32
        samples = torch.from_numpy(np.array(features, dtype=wide, order="C"))
        outputs = [
            self._outputs(classifier, layers, samples, scratch)
            for classifier, layers in zip(self.classifiers, self.layers, strict=True)
        ]
        return torch.stack(outputs)

    def _outputs(
        self, classifier: Classifier, layers: Sequence[nn.Module], samples: Tensor, scratch: Scratch
    ) -> Tensor:
        values = torch.sub(
            samples, self._fitted(classifier, "mean"), out=_memory(scratch, -1, samples.shape, samples.dtype)
        )
        values.mul_(self._fitted(classifier, "scale"))
        values = values.float()
        limit = float(self._fitted(classifier, "limit"))
        if limit < np.inf:
            values.clamp_(-limit, limit)
        for place, layer in enumerate(layers):
            if type(layer) is nn.ReLU:  # nobody else has its input: all that is called is here
                values = values.relu_()
            elif type(layer) is nn.Linear and layer.bias is not None and values.dim() == 2:
                shape, is_last = (len(values), layer.out_features), place == len(layers) - 1
                out = None if is_last else _memory(scratch, place, shape)
                values = torch.addmm(layer.bias, values, layer.weight.t(), out=out)
            else:
                values = layer.forward(values)
        assert classifier.encoder is not None, "it votes"
        return classifier.encoder.in_units_of_targets(classifier.target.predict(values))

    @staticmethod
    def _fitted(classifier: Classifier, name: str) -> Tensor:
        assert classifier.encoder is not None, "it votes"
        return classifier.encoder.fitted[name]


def _memory(scratch: Scratch, place: int, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    key = (place, *shape)
    if key not in scratch:
        scratch[key] = torch.empty(tuple(shape), dtype=dtype)
    return scratch[key]
