"""The frozen part of a model, of which the last layers alone are trained: its output is computed once for each sample.

Nothing about a sample's features may depend on the samples beside it: a shard that forgets some has to compute the same bits
for the others. They are computed in batches of one size, and one by one where places in a batch differ.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from raymu.errors import ConfigInvalid
from raymu.training.encoder import Encoder, PreparedSamples
from raymu.training.inputs import BatchInputs, count, split
from raymu.training.numerics import Numerics
from raymu.training.tasks import Task

BATCH = 32
"""Samples whose features are computed at once."""
FEATURES = "features of the backbone"
"""Name of the inputs of a head, among those of a batch."""


@dataclass(kw_only=True, slots=True, eq=False)
class Backbone:
    """A model without its head."""

    model: nn.Module
    """With the head."""
    head: nn.Module
    """The last layers. The features are what they are called with."""
    task: Task
    numerics: Numerics
    pads: bool
    """Whether the task fills samples up to the longest of a batch, so that none may be computed beside others."""
    _batch: int | None = field(default=None)

    def prepare(self, prepared: PreparedSamples) -> PreparedSamples:
        """Compute the features of samples, in evaluation mode.

        Raises ConfigInvalid if the model's output is not that of its head.
        """
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        encoder = prepared.encoder
        try:
            with torch.no_grad():
                parts = list(self._features(prepared))
        finally:
            for module, mode in modes:
                module.training = mode
        plain = Encoder(task=Task(), fitted={}, target_mean=encoder.target_mean, target_scale=encoder.target_scale)
        return PreparedSamples(encoder=plain, inputs={FEATURES: torch.cat(parts)}, device=prepared.device)

    def _features(self, prepared: PreparedSamples) -> Iterator[Tensor]:
        size = 1 if self.pads else BATCH
        for batch in prepared.split(size):
            samples = count(batch)
            if self._batch is None:
                self._batch = self._chosen_batch(_noise_like(batch, size))
            if self._batch == 1:
                yield from (self._of(each) for each in split(batch, [1] * samples))
            else:
                yield self._of(_filled(batch, BATCH))[:samples]

    def _of(self, batch: BatchInputs) -> Tensor:
        """Return what the head is called with."""
        caught: list[Tensor] = []

        def catch(_module: nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            tensors = [each for each in (*positional, *named.values()) if isinstance(each, Tensor)]
            caught.extend(tensors)

        hook = self.head.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            outputs = self.numerics.forward(self.task, self.model, batch)
        finally:
            hook.remove()
        if len(caught) != 1 or (self._batch is None and not self._gives(caught[0], outputs)):
            raise ConfigInvalid(
                "model.head: the model's output is not what these layers give, called once with one tensor; name the layers "
                "that give it, or use trainable: adapters"
            )
        return caught[0].detach()

    def _gives(self, features: Tensor, outputs: Tensor) -> bool:
        of_head = self.forward(features)
        return of_head.shape == outputs.shape and torch.allclose(of_head, outputs, rtol=1e-3, atol=1e-5, equal_nan=True)

    def forward(self, features: Tensor) -> Tensor:
        """Call the head as it is set. Returns (samples, outputs)."""
        return self.numerics.forward(_ONE_TENSOR, self.head, features)

    def _chosen_batch(self, batch: BatchInputs) -> int:
        """Return how many samples are computed at once: one, if a sample's features differ at another place of the batch.

        The order of sums depends on shapes and places, and not on values. Some values, such as zeros, have one sum in any
        order: that is why noise decides, and no samples, which may be forgotten.
        """
        whole, order = self._of(batch), torch.arange(BATCH - 1, -1, -1)
        if self.pads:
            return 1
        turned = self._of(_taken(batch, order))[order.to(whole.device)]
        alike = [self._of(_taken(batch, torch.full((BATCH,), place))) for place in (0, 1)]
        is_same = torch.equal(whole, turned) and all(
            torch.equal(part, whole[place].expand_as(part)) for place, part in enumerate(alike)
        )
        return BATCH if is_same else 1


_ONE_TENSOR = Task()
"""Calls a module with the tensor that it is given."""


def _taken(batch: BatchInputs, order: Tensor) -> BatchInputs:
    if isinstance(batch, Mapping):
        return {name: part[order.to(part.device)] for name, part in batch.items()}
    return batch[order.to(batch.device)]


def _noise_like(batch: BatchInputs, size: int) -> BatchInputs:
    """Return so many samples of noise, always the same, of the types and shapes of a batch: fractions, or 0 and 1."""
    generator = torch.Generator().manual_seed(0)

    def noise(part: Tensor) -> Tensor:
        shape = (size, *part.shape[1:])
        if part.is_floating_point():
            return torch.rand(shape, generator=generator).to(part)
        return torch.randint(2, shape, generator=generator).to(part)

    if isinstance(batch, Mapping):
        return {name: noise(part) for name, part in batch.items()}
    return noise(batch)


def _filled(batch: BatchInputs, size: int) -> BatchInputs:
    """Fill a batch up with its last sample."""
    samples = count(batch)
    return batch if samples == size else _taken(batch, torch.arange(size).clamp(max=samples - 1))
