"""Products of a vector with the generalised Gauss-Newton matrix, for any module that autograd differentiates twice.

The matrix is the mean over samples of J^T H J: J holds the derivatives of one sample's outputs by the parameters, H the
second derivatives of the loss by the outputs (Schraudolph, Neural Computation 2002; Martens, JMLR 2020, section 8). It is
positive semidefinite if the loss is convex in the outputs, as the Hessian of a network is not. J v is found by backward
passes alone: J^T u is linear in u, and its derivative by u, along v, is J v. PyTorch's forward mode lacks rules for layers
that its backward mode has.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from raymu.errors import PatchFailed
from raymu.training.classifier import Classifier
from raymu.training.encoder import PreparedSamples
from raymu.training.inputs import BatchInputs

CHUNK = 256
"""Samples that are differentiated at once: it bounds the memory that activations take."""
_TOLERANCE = 1e-3
"""Largest relative difference of two products that are equal but for rounding."""
_KEPT_BYTES = 2**28
"""Largest size of the activations that are kept from one product to the next, instead of being computed again."""


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Choose implementations of layers that have dense second derivatives: fused attention and fused recurrence have none."""
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
                module.sparse = False
                stack.callback(setattr, module, "sparse", True)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False, deterministic=True))
            flags = torch.backends.mkldnn.set_flags(_enabled=False, _fp32_precision=None)
            stack.callback(torch.backends.mkldnn.set_flags, flags[0], _fp32_precision=None)
        yield


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """List the parameters that training changes, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Linearised:
    """The outputs of some samples as a linear function of the parameters, near the present ones."""

    outputs: Tensor
    """(samples, classes)."""
    dual: Tensor
    """(samples, classes) of zeros, by which `pulled` is differentiated."""
    pulled: tuple[Tensor, ...]
    """J^T dual, in the shapes of the parameters."""
    logits: Tensor
    """(samples, classes): the outputs, without the model behind them."""
    slope: Tensor
    """(samples, classes), the loss's gradient by `logits`."""


class GaussNewton:
    """The Gauss-Newton matrix of the mean loss of some samples, at the present weights, in evaluation mode."""

    def __init__(self, classifier: Classifier, samples: PreparedSamples, targets: Tensor) -> None:
        """Prepare for products.

        Args:
            classifier: Its weights must not change between products.
            samples: The samples.
            targets: Their targets, (samples,) or (samples, outputs).
        """
        self._classifier = classifier
        self._chunks = list(zip(samples.split(CHUNK), targets.split(CHUNK), strict=True))
        self._samples = len(samples)
        self._parameters = trainable(classifier.model)
        self._sizes = [parameter.numel() for parameter in self._parameters]
        self._kept: list[_Linearised] | None = None
        self._is_checked = False

    def product(self, vector: Tensor) -> Tensor:
        """Multiply a vector. Shapes: (trainable parameters,) -> (trainable parameters,)."""
        total = torch.zeros_like(vector)
        parts = [
            part.view_as(parameter) for part, parameter in zip(vector.split(self._sizes), self._parameters, strict=True)
        ]
        for chunk in self._linearised():
            total += self._chunk_product(chunk, parts)
            self._is_checked = True
        return total.div_(self._samples)

    def _linearised(self) -> Iterator[_Linearised]:
        """Yield the chunks. They are kept for the next product if they are small."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[_Linearised] = []
        most = 0
        for number, (batch, targets) in enumerate(self._chunks):
            if number == 0:
                with _counted_bytes() as counted:
                    chunk = self._linearise(batch, targets)
                most = _KEPT_BYTES // max(counted[0], 1)
            else:
                chunk = self._linearise(batch, targets)
            if len(self._chunks) <= most:
                kept.append(chunk)
            yield chunk
        if kept:
            self._kept = kept

    def _linearise(self, batch: BatchInputs, targets: Tensor) -> _Linearised:
        self._classifier.model.eval()
        with twice_differentiable(self._classifier.model):
            outputs = self._classifier.forward(batch)
            dual = torch.zeros_like(outputs, requires_grad=True)
            pulled = torch.autograd.grad(
                weighted(outputs, dual), self._parameters, create_graph=True, materialize_grads=True
            )
        logits = outputs.detach().requires_grad_()
        [slope] = torch.autograd.grad(self._classifier.loss(logits, targets, "sum"), logits, create_graph=True)
        return _Linearised(outputs=outputs, dual=dual, pulled=pulled, logits=logits, slope=slope)

    def _chunk_product(self, chunk: _Linearised, parts: Sequence[Tensor]) -> Tensor:
        """Return the sum over the chunk's samples of J^T H J v."""
        if not self._is_checked:
            _require_derivatives(chunk, self._parameters)
        pushed = _pushed(chunk, parts)
        if not chunk.slope.requires_grad:  # the loss is piecewise linear in the outputs
            return torch.zeros(sum(self._sizes), device=pushed.device)
        [curved] = torch.autograd.grad(weighted(chunk.slope, pushed), chunk.logits, retain_graph=True)
        pulled = torch.autograd.grad(
            weighted(chunk.outputs, curved), self._parameters, retain_graph=True, materialize_grads=True
        )
        return torch.cat([part.reshape(-1) for part in pulled])


def _pushed(chunk: _Linearised, parts: Sequence[Tensor]) -> Tensor:
    """Return J v of each sample, (samples, outputs)."""
    reached = [weighted(pulled, part) for pulled, part in zip(chunk.pulled, parts, strict=True) if pulled.requires_grad]
    [pushed] = torch.autograd.grad(reached, chunk.dual, retain_graph=True)
    return pushed


def weighted(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return the inner product of outputs and weights, a scalar whose gradient is that of the outputs for these weights.

    The gradient has the same bits as with `grad_outputs` of PyTorch, since every weight is multiplied by 1. That argument
    would import the symbolic shapes of PyTorch's compiler, and sympy, which take longer than a small patch.
    """
    return (outputs * weights).sum()


def _require_derivatives(chunk: _Linearised, parameters: Sequence[Tensor]) -> None:
    """Check that the squared norm of J v is the product of J^T J v and v, for a v in which every parameter has a part.

    A function of the user's own can cut the path of its second derivatives without an error.
    """
    parts = [torch.ones_like(parameter) for parameter in parameters]
    pushed = _pushed(chunk, parts)
    pulled = torch.autograd.grad(weighted(chunk.outputs, pushed), parameters, retain_graph=True, materialize_grads=True)
    product = sum(float((pulled_part * part).sum()) for pulled_part, part in zip(pulled, parts, strict=True))
    square = float(pushed.square().sum())
    if not abs(product - square) <= _TOLERANCE * max(abs(product), square):
        raise PatchFailed(
            "the model needs second derivatives that autograd does not have; "
            "unlearning.contributions gradient needs none"
        )


@contextmanager
def _counted_bytes() -> Iterator[list[int]]:
    """Count the bytes that autograd keeps of the operations within."""
    counted = [0]

    def pack(tensor: Tensor) -> Tensor:
        counted[0] += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield counted
