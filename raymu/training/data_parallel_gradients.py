"""Gradients of batches that several ranks share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager

import torch
from torch import Tensor, nn

from raymu.core.partition import derive_seed
from raymu.training.batches import BatchPlan, part_lengths
from raymu.training.classifier import Classifier
from raymu.training.encoder import PreparedSamples
from raymu.training.inputs import BatchInputs, split
from raymu.training.randomness import Generator, RandomState, seed_everything
from raymu.training.ranks import Ranks


def data_parallel_gradients(
    classifier: Classifier,
    samples: PreparedSamples,
    targets: Tensor,
    batches: BatchPlan,
    *,
    draws: Tensor | None,
    seed: int,
    ranks: Ranks,
    generators: Mapping[str, Generator],
    min_samples: int,
    accumulate: int = 1,
) -> Iterator[None]:
    """Compute each batch's gradient by several ranks, and leave it in the parameters; the caller takes the step.

    Every rank starts an epoch with the first rank's buffers. During the epoch it has its own buffers and random numbers.
    After it the first rank's buffers are the model's.

    Args:
        classifier: Its model is in training mode. The mean of its loss over a batch is the weighted mean over the batch's
            parts.
        samples: The samples.
        targets: Their targets, (samples,) or (samples, outputs).
        batches: Batches of the epoch.
        draws: (samples,) int64, a seed for each sample; None if the task draws nothing.
        seed: Seed of the random numbers that the model draws.
        ranks: That share each batch.
        generators: Name -> a generator that the model, its loss or its optimizer keeps.
        min_samples: Fewest samples of a rank's part, unless the part is empty.
        accumulate: Parts of a rank's part whose gradients are computed one after the other.

    Raises:
        RankLost: Another rank does not answer.
    """
    model = classifier.model
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ranks.broadcast_buffers(model)
    states = [
        _RankState(model, classifier.device, generators, derive_seed(seed, rank) if rank else seed)
        for rank in ranks.local_ranks
    ]
    with ExitStack() as open_parts:
        parts_of = [
            open_parts.enter_context(
                closing(batches.part(rank, ranks.count, min_samples=min_samples).split(samples, targets, draws))
            )
            for rank in ranks.local_ranks
        ]
        for batch_size in batches.sizes:
            gradients = []
            for state, parts in zip(states, parts_of, strict=True):
                part, part_targets = next(parts)
                with state.active():
                    classifier.model.zero_grad(set_to_none=True)
                    accumulate_gradient(
                        classifier,
                        part,
                        part_targets,
                        parts=accumulate,
                        min_samples=min_samples,
                        batch_size=batch_size,
                    )
                    gradients.append(_gradient(parameters))
            _set_gradients(parameters, ranks.ordered_all_reduce(gradients))
            yield
    states[0].load()


class _RankState:
    """One rank's buffers and random state, while a process simulates several ranks with one model."""

    def __init__(self, model: nn.Module, device: torch.device, generators: Mapping[str, Generator], seed: int) -> None:
        self._model, self._device, self._generators = model, device, generators
        self._buffers = [buffer.detach().clone() for buffer in model.buffers()]
        seed_everything(seed, generators)
        self._random_state = RandomState.now(device, generators)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Give the model this rank's state, and save it afterwards."""
        self.load()
        yield
        self._buffers = [buffer.detach() for buffer in self._model.buffers()]
        self._random_state = RandomState.now(self._device, self._generators)

    def load(self) -> None:
        for buffer, own in zip(self._model.buffers(), self._buffers, strict=True):
            buffer.data = own  # not copied: the model continues with this very storage
        self._random_state.restore(self._device)


def accumulate_gradient(
    classifier: Classifier,
    batch: BatchInputs,
    targets: Tensor,
    *,
    parts: int,
    min_samples: int,
    batch_size: int | None = None,
) -> None:
    """Add the gradient of a batch to the parameters, part after part, each weighted by its share.

    Args:
        classifier: Its model is in training mode.
        batch: The batch, or a rank's part of it, which may be empty.
        targets: Its targets.
        parts: Parts whose gradients are computed one after the other.
        min_samples: Fewest samples of a part.
        batch_size: Samples of the whole batch, if others have parts of it too.
    """
    whole = batch_size or len(targets)
    if parts == 1 and len(targets) == whole:
        classifier.loss(classifier.forward(batch), targets).backward()
        return
    if not len(targets):
        return
    sizes = part_lengths(len(targets), parts, min_samples=min_samples)
    for part, truth in zip(split(batch, sizes), targets.split(sizes), strict=True):
        (classifier.loss(classifier.forward(part), truth) * (len(truth) / whole)).backward()


def _gradient(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the gradients of parameters side by side, (parameters,)."""
    return torch.cat([dense_gradient(parameter).reshape(-1) for parameter in parameters])


def dense_gradient(parameter: nn.Parameter) -> Tensor:
    """Return a parameter's gradient, which some layers leave sparse; 0 if it has none."""
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros_like(parameter)
    return gradient.to_dense() if gradient.is_sparse else gradient


def _set_gradients(parameters: Sequence[nn.Parameter], gradient: Tensor) -> None:
    """Cut a gradient, (parameters,), into those of the parameters."""
    pieces = gradient.split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)
