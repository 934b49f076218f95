"""K-FAC: the Gauss-Newton matrix as Kronecker products, layer by layer, which are easy to invert.

The block of a linear layer is the product of two small matrices: the second moments of its inputs (with a 1 for the bias) and
of the loss's gradients by its outputs (Martens and Grosse, ICML 2015, section 3). The places of an image or of a sequence
that a layer is applied to count as samples of their own (Grosse and Martens, ICML 2016, section 3; "expand" in Eschenhagen
et al., NeurIPS 2023). Labels are drawn from the model's probabilities, and gradients are those of the loss itself: for
cross-entropy that gives the Gauss-Newton matrix, for other losses a positive semidefinite matrix of a like scale.
Parameters of other layers, and of layers that are called more than once, each get the mean of their tensor's curvatures.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F

from raymu.training.classifier import Classifier
from raymu.training.curvature.gauss_newton import CHUNK, trainable, twice_differentiable
from raymu.training.encoder import PreparedSamples

LARGEST_FACTOR = 4096
"""Most inputs or outputs of a layer: the time to decompose a factor grows with their cube."""
_ROW_BYTES = 2**28
"""Most bytes of the rows of inputs that are made at once: a convolution copies each pixel for every place it goes into."""


@dataclass(kw_only=True, slots=True, eq=False)
class _Layer:
    """A linear or convolutional layer, and what is summed over the samples for it."""

    module: nn.Linear | nn.Conv2d
    inputs: Tensor
    """(n, n): second moments of the inputs, n = in_features + bias, summed."""
    gradients: Tensor
    """(m, m): second moments of the gradients by the outputs, m = out_features, summed."""
    places: int = 0
    """Number of rows that `inputs` sums."""
    calls: list[tuple[Tensor, GradientEdge]] = field(default_factory=list)
    """The input and the output of each call with the present chunk."""

    @classmethod
    def of(cls, module: nn.Linear | nn.Conv2d) -> "_Layer":
        weight, has_bias = module.weight, module.bias is not None
        columns = weight[0].numel() + has_bias
        return cls(
            module=module,
            inputs=torch.zeros(columns, columns, device=weight.device),
            gradients=torch.zeros(len(weight), len(weight), device=weight.device),
        )

    def add(self, inputs: Tensor, gradients: Tensor) -> None:
        """Add a chunk's second moments: its inputs, and the gradients by its outputs."""
        by_output = gradients.flatten(2).transpose(1, 2) if gradients.dim() == 4 else gradients
        flat = by_output.reshape(-1, len(self.gradients))
        self.gradients.addmm_(flat.T, flat)
        sample_bytes = len(flat) / len(inputs) * len(self.inputs) * inputs.element_size()
        for part in inputs.split(max(1, int(_ROW_BYTES / sample_bytes))):
            self._add_inputs(self._input_rows(part))

    def _add_inputs(self, rows: Tensor) -> None:
        """Add the second moments of rows of inputs, (places, inputs)."""
        width = rows.shape[1]
        self.inputs[:width, :width].addmm_(rows.T, rows)
        if width < len(self.inputs):
            sums = rows.sum(dim=0)
            self.inputs[-1, :-1] += sums
            self.inputs[:-1, -1] += sums
            self.inputs[-1, -1] += len(rows)
        self.places += len(rows)

    def _input_rows(self, inputs: Tensor) -> Tensor:
        """Return (places, inputs): what each output place is computed from."""
        if isinstance(self.module, nn.Linear):
            return inputs.reshape(-1, inputs.shape[-1])
        conv = self.module
        assert not isinstance(conv.padding, str)
        patches = F.unfold(inputs, conv.kernel_size, dilation=conv.dilation, padding=conv.padding, stride=conv.stride)
        return patches.transpose(1, 2).reshape(-1, patches.shape[1])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Block:
    """The inverse of one layer's block."""

    weight: slice
    """The weight's place in a vector of all trainable parameters."""
    bias: slice | None
    input_basis: Tensor
    """(n, n), eigenvectors of the inputs' second moments."""
    output_basis: Tensor
    """(m, m), eigenvectors of the gradients' second moments."""
    curvatures: Tensor
    """(m, n), eigenvalues of the block, damped."""

    def solve(self, vector: Tensor, solution: Tensor) -> None:
        """Write the layer's part of the solution."""
        rows = vector[self.weight].view(len(self.output_basis), -1)
        if self.bias is not None:
            rows = torch.cat([rows, vector[self.bias][:, None]], dim=1)
        turned = self.output_basis.T @ rows @ self.input_basis
        rows = self.output_basis @ (turned / self.curvatures) @ self.input_basis.T
        if self.bias is not None:
            solution[self.bias] = rows[:, -1]
            rows = rows[:, :-1]
        solution[self.weight] = rows.reshape(-1)


class Kfac:
    """The inverse of the damped Gauss-Newton matrix, approximately. It is symmetric and positive definite."""

    def __init__(
        self, classifier: Classifier, samples: PreparedSamples, *, damping: float, generator: torch.Generator
    ) -> None:
        """Estimate it at the present weights, in evaluation mode, by one forward and one backward pass.

        Args:
            classifier: The model and its loss.
            samples: The samples.
            damping: Added to the curvatures.
            generator: Draws targets and signs, on the CPU.
        """
        model = classifier.model
        parameters = trainable(model)
        places, start = {}, 0
        for parameter in parameters:
            places[id(parameter)] = slice(start, start + parameter.numel())
            start += parameter.numel()
        layers = _layers(model, places)
        sums = _Sums(layers=layers, others=[])
        model.eval()
        with _recorded_calls(layers), twice_differentiable(model):
            for number, chunk in enumerate(samples.split(CHUNK)):
                for layer in layers:
                    layer.calls.clear()
                outputs = classifier.forward(chunk)
                if number == 0:
                    layers[:] = [layer for layer in layers if len(layer.calls) == 1]
                    covered = {
                        id(parameter) for layer in layers for parameter in layer.module.parameters(recurse=False)
                    }
                    sums.others = [parameter for parameter in parameters if id(parameter) not in covered]
                    sums.squares = [torch.zeros((), device=classifier.device) for _ in sums.others]
                sums.add(outputs, classifier, generator)
        count = len(samples)
        self._blocks = [_block(layer, places, samples=count, damping=damping) for layer in layers]
        self._others = [
            (places[id(parameter)], float(square) / count / parameter.numel() + damping)
            for parameter, square in zip(sums.others, sums.squares, strict=True)
        ]

    def solve(self, vector: Tensor) -> Tensor:
        """Multiply by the inverse. Shapes: (trainable parameters,) -> (trainable parameters,)."""
        solution = torch.empty_like(vector)
        for block in self._blocks:
            block.solve(vector, solution)
        for place, curvature in self._others:
            solution[place] = vector[place] / curvature
        return solution


@dataclass(kw_only=True, slots=True, eq=False)
class _Sums:
    """What one pass over the samples adds up."""

    layers: list[_Layer]
    others: list[nn.Parameter]
    """Trainable parameters that no layer covers."""
    squares: list[Tensor] = field(default_factory=list)
    """Of each of them: the squared norms of the samples' gradients, summed in expectation."""

    def add(self, outputs: Tensor, classifier: Classifier, generator: torch.Generator) -> None:
        """Add a chunk, whose layers' calls are recorded.

        With a random sign on each sample's loss, the squared norm of the sum of gradients is that of all samples, in
        expectation. Signs change no second moment.
        """
        targets = classifier.target.draw(outputs.detach(), generator)
        signs = torch.randint(0, 2, (len(outputs),), generator=generator).mul_(2).sub_(1).to(outputs)
        total = classifier.loss(outputs, targets, "none") @ signs
        edges: list[Any] = [layer.calls[0][1] for layer in self.layers]
        gradients = torch.autograd.grad(total, [*edges, *self.others], allow_unused=True)
        for layer, gradient in zip(self.layers, gradients, strict=False):
            if gradient is not None:
                layer.add(layer.calls[0][0], gradient)
        for square, gradient in zip(self.squares, gradients[len(self.layers) :], strict=True):
            if gradient is not None:
                square += gradient.square().sum()


def _layers(model: nn.Module, places: dict[int, slice]) -> list[_Layer]:
    """List the layers that have Kronecker factors: each parameter is trainable, and belongs to one layer alone."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return [
        _Layer.of(module)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and _has_factors(module)
        and all(
            id(parameter) in places and owners[id(parameter)] == 1
            for parameter in (module.weight, module.bias)
            if parameter is not None
        )
    ]


def _has_factors(module: nn.Linear | nn.Conv2d) -> bool:
    if max(len(module.weight), module.weight[0].numel() + 1) > LARGEST_FACTOR:
        return False
    if isinstance(module, nn.Linear):
        return True
    return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)


@contextmanager
def _recorded_calls(layers: Sequence[_Layer]) -> Iterator[None]:
    """Record the inputs and outputs of layers."""

    def recorder(layer: _Layer) -> Any:
        def record(_module: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor], output: Tensor) -> None:
            [tensor] = (*inputs, *named.values())
            # The edge stays that of this output, even if a later layer overwrites it.
            layer.calls.append((tensor.detach(), get_gradient_edge(output)))

        return record

    hooks = [layer.module.register_forward_hook(recorder(layer), with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _block(layer: _Layer, places: dict[int, slice], *, samples: int, damping: float) -> _Block:
    input_moments, input_basis = torch.linalg.eigh(layer.inputs / max(layer.places, 1))
    output_moments, output_basis = torch.linalg.eigh(layer.gradients / samples)
    curvatures = output_moments.clamp_(min=0.0)[:, None] * input_moments.clamp_(min=0.0)[None, :]
    module = layer.module
    return _Block(
        weight=places[id(module.weight)],
        bias=None if module.bias is None else places[id(module.bias)],
        input_basis=input_basis,
        output_basis=output_basis,
        curvatures=curvatures.add_(damping),
    )
