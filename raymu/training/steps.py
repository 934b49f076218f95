"""The gradients of an epoch's batches: each of a whole batch at once, or of its parts by several ranks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.core.partition import derive_seed
from raymu.training.batches import BatchPlan
from raymu.training.ranks import Ranks


def whole_batches(model: nn.Module, inputs: Tensor, labels: Tensor, batches: BatchPlan, *, seed: int) -> Iterator[None]:
    """Leave the gradient of one batch after the other in the parameters.

    inputs: (samples, *shape) float32, normalised; labels: (samples,) int64; seed: of what the model draws, as dropout does
    """
    parameters = list(model.parameters())
    torch.manual_seed(seed)
    for batch, aims in _cut(inputs, labels, batches):
        _clear(parameters)
        F.cross_entropy(model(batch), aims).backward()
        yield


def parted_batches(
    model: nn.Module, inputs: Tensor, labels: Tensor, batches: BatchPlan, *, seed: int, ranks: Ranks, least: int
) -> Iterator[None]:
    """The same by several ranks. least: samples of a part, where a rank has one. Raises RankLost.

    A rank starts with the first one's buffers, and has them and its random numbers to itself until the epoch ends. Then
    those of the first rank are the model's.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ranks.share_buffers(model)
    cuts = [_cut(inputs, labels, batches.part(rank, ranks.count, least=least)) for rank in ranks.own]
    states = [_RankState(model, inputs.device, derive_seed(seed, rank) if rank else seed) for rank in ranks.own]
    for size in batches.sizes:
        parts = []
        for state, cut in zip(states, cuts, strict=True):
            with state.in_place():
                parts.append(_part_gradient(model, parameters, *next(cut), of=size))
        _spread(ranks.add_up(parts), parameters)
        yield
    states[0].load()


class _RankState:
    """What a rank has to itself, though one process may play several of them."""

    def __init__(self, model: nn.Module, device: torch.device, seed: int) -> None:
        self._model, self._device = model, device
        self._buffers = [buffer.detach().clone() for buffer in model.buffers()]
        torch.manual_seed(seed)
        self._keep_random()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        self.load()
        yield
        self._buffers = [buffer.detach() for buffer in self._model.buffers()]
        self._keep_random()

    def load(self) -> None:
        for buffer, own in zip(self._model.buffers(), self._buffers, strict=True):
            buffer.data = own  # not copied: the model goes on with this very storage
        torch.set_rng_state(self._random)
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._random_of_gpu, self._device)

    def _keep_random(self) -> None:
        self._random = torch.get_rng_state()
        if self._device.type == "cuda":
            self._random_of_gpu = torch.cuda.get_rng_state(self._device)


def _cut(inputs: Tensor, labels: Tensor, batches: BatchPlan) -> Iterator[tuple[Tensor, Tensor]]:
    # One gather per epoch, then views: quicker than an index per batch.
    order = torch.from_numpy(batches.positions).to(inputs.device)
    sizes = list(batches.sizes)
    return zip(inputs[order].split(sizes), labels[order].split(sizes), strict=True)


def _part_gradient(
    model: nn.Module, parameters: Sequence[nn.Parameter], batch: Tensor, aims: Tensor, *, of: int
) -> Tensor:
    """of: samples of the whole batch. returns: (parameters,), weighted by the part's share; zeros of an empty part"""
    _clear(parameters)
    if len(aims):
        (F.cross_entropy(model(batch), aims) * (len(aims) / of)).backward()
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def _spread(gradient: Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """gradient: (parameters,), to be the parameters' own"""
    pieces = gradient.split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)


def _clear(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
