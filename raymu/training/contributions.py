"""Contributions: the parameter updates that a patch subtracts, by one of four methods.

How the hybrid framework's authors compute them is not known, so several methods stand side by side. `curvature` and
`gradient` record nothing: they start from the forget set's present gradient. `group` records one accumulated update per fixed
batch and stage, `batch` every step's update (Amnesiac unlearning, Graves et al., AAAI 2021). Recorders are hooks of the
optimizer; the training loop does not know them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from raymu.config import CurvatureConfig
from raymu.config.unlearning import Contributions
from raymu.errors import PatchFailed
from raymu.text import plural
from raymu.training.batches import BatchPlan, ShardSamples
from raymu.training.checkpoint_format import deserialize, serialize
from raymu.training.classifier import Classifier
from raymu.training.curvature.direction import CurvatureDirection
from raymu.training.curvature.gauss_newton import twice_differentiable
from raymu.training.data_parallel_gradients import dense_gradient


class UpdateRecorder(Protocol):
    """Keeps the updates of one stage while it trains."""

    def register_hooks(self, optimizer: Optimizer) -> Iterable[RemovableHandle]:
        """See every step of the optimizer from now on."""
        ...

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        """Expect one step for each of these batches."""
        ...

    def log(self) -> "UpdateLog":
        """Return the recorded updates."""
        ...


@contextmanager
def recording(recorder: UpdateRecorder | None, optimizer: Optimizer) -> Iterator[None]:
    """Let a recorder see the optimizer's steps; without a recorder, do nothing."""
    hooks = recorder.register_hooks(optimizer) if recorder else ()
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(kw_only=True, slots=True, eq=False)
class UpdateLog:
    """Recorded updates of one stage.

    A forgotten member leaves its entry behind, so no row loses its place or its size. The entry is never counted again:
    all rows that held it are consumed, and later patches subtract only rows that lost no member.
    """

    updates: Tensor
    """(rows, parameters) float16, one group or one step per row; zero once subtracted."""
    members: Tensor
    """(entries,) int64, the hashes of the samples in each row, row after row; 0 for a forgotten sample."""
    sizes: Tensor
    """(rows,) int64, members of each row when it was recorded, which share its update."""
    consumed: Tensor
    """(rows,) bool, subtracted already. In the file it is called `spent`."""

    @classmethod
    def load(cls, payload: bytes, *, source: str) -> "UpdateLog":
        """Read a file that `dump` wrote. Raises FileCorrupt, naming `source`."""
        tensors = deserialize(payload, source=source)
        return cls(consumed=tensors.pop("spent"), **tensors)

    def dump(self) -> bytes:
        """Write a safetensors file."""
        tensors = {"updates": self.updates, "members": self.members, "sizes": self.sizes, "spent": self.consumed}
        return serialize(tensors, {})

    def forgotten_by_row(self, forget: ShardSamples) -> Tensor:
        """Count each row's members that are to be forgotten. Returns (rows,) int64."""
        rows = torch.repeat_interleave(torch.arange(len(self.sizes)), self.sizes)
        return torch.bincount(rows[self._holds(forget)], minlength=len(self.sizes))

    def has_unconsumed(self, forget: ShardSamples) -> Tensor:
        """Tell which of these samples are in a row that is not consumed. Returns (samples,) bool."""
        is_left = torch.repeat_interleave(~self.consumed, self.sizes)
        return torch.isin(_signed(forget), self.members[is_left])

    def erase_members(self, forget: ShardSamples) -> None:
        """Remove everything that names these samples."""
        self.members[self._holds(forget)] = 0

    def subtract_rows(self, shares: Tensor) -> Tensor:
        """Sum the rows, each times its share, and zero those with a share: no update is subtracted twice.

        Args:
            shares: (rows,) within [0, 1].

        Returns:
            (parameters,) float32.
        """
        total = torch.zeros(self.updates.shape[1])
        for row in torch.nonzero(shares).flatten().tolist():
            total.add_(self.updates[row], alpha=float(shares[row]))  # in place: far quicker than an indexed sum
            self.updates[row] = 0
            self.consumed[row] = True
        return total

    def _holds(self, samples: ShardSamples) -> Tensor:
        return torch.isin(self.members, _signed(samples))


def _signed(samples: ShardSamples) -> Tensor:
    """Return the hashes as `UpdateLog.members` has them: (samples,) int64."""
    return torch.from_numpy(samples.hashes.view(np.int64))


class _GroupRecorder:
    """One row per fixed batch: the sum of its steps over the stage's epochs. For plain SGD only."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        self._parameters = list(model.parameters())
        widths = [parameter.numel() for parameter in self._parameters]
        self._updates = torch.zeros(rows, sum(widths), device=self._parameters[0].device)
        self._views = [
            [part.view_as(parameter) for part, parameter in zip(row.split(widths), self._parameters, strict=True)]
            for row in self._updates
        ]
        self._members: dict[int, Tensor] = {}
        self._rows: Iterator[int] = iter(())  # of the batches that are still to come in this epoch

    def register_hooks(self, optimizer: Optimizer) -> Iterable[RemovableHandle]:
        return (optimizer.register_step_pre_hook(self._before_step),)

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        self._rows = iter(batches.keys)
        if not self._members:  # the same in every epoch
            self._members = dict(zip(batches.keys, _members(batches, samples), strict=True))

    def _before_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        # The update of plain SGD is known before the step, so the weights need not be copied.
        settings = optimizer.param_groups[0]
        rate, decay = settings["lr"], settings["weight_decay"]
        for view, parameter in zip(self._views[next(self._rows)], self._parameters, strict=True):
            if parameter.grad is not None:
                view.add_(parameter.grad, alpha=-rate)
                if decay:
                    view.add_(parameter.detach(), alpha=-rate * decay)

    def log(self) -> UpdateLog:
        members = [self._members.get(row, torch.zeros(0, dtype=torch.int64)) for row in range(len(self._updates))]
        return _log(self._updates, members)


class _BatchRecorder:
    """One row per step."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._before = torch.zeros(0)
        self._updates: list[Tensor] = []
        self._members: list[Tensor] = []

    def register_hooks(self, optimizer: Optimizer) -> Iterable[RemovableHandle]:
        return optimizer.register_step_pre_hook(self._before_step), optimizer.register_step_post_hook(self._after_step)

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        self._members.extend(_members(batches, samples))

    def _before_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._before = parameters_to_vector(self._model.parameters()).detach().clone()

    def _after_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        after = parameters_to_vector(self._model.parameters()).detach()
        self._updates.append((after - self._before).half())

    def log(self) -> UpdateLog:
        width = parameters_to_vector(self._model.parameters()).numel()
        return _log(torch.stack(self._updates) if self._updates else torch.zeros(0, width), self._members)


def _members(batches: BatchPlan, samples: ShardSamples) -> tuple[Tensor, ...]:
    hashes = torch.from_numpy(samples.hashes[batches.positions].view(np.int64))
    return hashes.split(list(batches.sizes))


def _log(updates: Tensor, members: list[Tensor]) -> UpdateLog:
    sizes = torch.tensor([len(row) for row in members], dtype=torch.int64)
    return UpdateLog(
        updates=updates.detach().half().cpu(),
        members=torch.cat(members) if members else torch.zeros(0, dtype=torch.int64),
        sizes=sizes,
        consumed=torch.zeros(len(sizes), dtype=torch.bool),
    )


Logs: TypeAlias = Mapping[int, UpdateLog]
"""Recorded updates by stage."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ContributionsTask:
    """Everything that contributions are computed from."""

    classifier: Classifier
    """The model to patch, at its present weights."""
    retain: ShardSamples
    """Retained samples of the shard, which the curvature is estimated from."""
    trained: int
    """Number of samples that the model was trained on, with the forget set."""
    logs: Logs
    """They lose both the updates and the names of samples whose contributions are computed."""
    rate: float
    """Learning rate of training."""
    curvature: CurvatureConfig
    seed: int
    """Seed of what is drawn, such as the samples that the curvature is estimated from."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ContributionsResult:
    """Contributions that are computed."""

    vector: Tensor
    """(parameters,) float32, to be subtracted from the weights."""
    passes: float
    """Sample passes that they took."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StrengthBounds:
    """Bounds of the multiple of contributions that a calibrated patch subtracts."""

    least: float = 0.0
    most: float = math.inf

    def scaled(self, factor: float) -> "StrengthBounds":
        """Return the bounds times a factor."""
        return StrengthBounds(least=self.least * factor, most=self.most * factor)


UNBOUNDED = StrengthBounds()


Contribute: TypeAlias = Callable[[ShardSamples], ContributionsResult]
"""Computes the contributions of samples, at the present weights.

Raises PatchFailed if it cannot, or if nothing is left to subtract.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContributionMethod:
    """One way to compute contributions."""

    prepare: Callable[[ContributionsTask], Contribute]
    recorder: Callable[[nn.Module, int], UpdateRecorder] | None = None
    """(model, fixed batches of the stage) -> a recorder; None if nothing is recorded."""
    influence: StrengthBounds | None = None
    """Bounds of the strength of contributions that predict the change of the weights, so that 1 is the strength by theory.

    Their strength is measured on more samples than the forget set, if that is small, and a calibrated patch takes several
    steps, each along contributions that are computed anew. None for contributions of unknown scale.
    """


def _curvature(task: ContributionsTask) -> Contribute:
    """Prepare a step against the samples' gradient, times the inverse curvature and their share of the training."""
    direction = CurvatureDirection(task.classifier, task.retain, task.curvature, seed=task.seed)

    def contribute(samples: ShardSamples) -> ContributionsResult:
        vector, passes = direction.of(_mean_gradient(task.classifier, samples))
        share = len(samples) / max(task.trained - len(samples), 1)
        return ContributionsResult(vector=vector.mul_(-share), passes=passes + len(samples))

    return contribute


def _gradient(task: ContributionsTask) -> Contribute:
    """Prepare what one step of plain gradient descent on the samples, at the present weights, would add."""

    def contribute(samples: ShardSamples) -> ContributionsResult:
        vector = -task.rate * _mean_gradient(task.classifier, samples)
        return ContributionsResult(vector=vector, passes=len(samples))

    return contribute


def _mean_gradient(classifier: Classifier, samples: ShardSamples) -> Tensor:
    """Compute the gradient of the mean loss of samples. Returns (parameters,); 0 where a parameter has none."""
    model = classifier.model
    model.zero_grad(set_to_none=True)
    targets = classifier.targets(samples.labels).split(classifier.evaluation_batch)
    # Evaluation mode: no dropout, and batch norm by its running statistics. cuDNN's recurrent layers have no backward pass
    # in it.
    with twice_differentiable(model):
        for outputs, truth in zip(classifier.outputs(samples.features), targets, strict=True):
            (classifier.loss(outputs, truth, "sum") / len(samples)).backward()
    return parameters_to_vector([dense_gradient(parameter) for parameter in model.parameters()])


def _group(task: ContributionsTask) -> Contribute:
    """Prepare the sum of the updates of the touched groups, each scaled by its forgotten share."""
    return partial(_recorded, task, lambda counts, sizes: counts / sizes.clamp(min=1))


def _batch(task: ContributionsTask) -> Contribute:
    """Prepare the sum of the updates of the touched batches."""
    return partial(_recorded, task, lambda counts, _sizes: (counts > 0).double())


def _recorded(
    task: ContributionsTask, shares: Callable[[Tensor, Tensor], Tensor], forget: ShardSamples
) -> ContributionsResult:
    logs = task.logs
    is_consumed = torch.ones(len(forget), dtype=torch.bool)
    for log in logs.values():
        is_consumed &= ~log.has_unconsumed(forget)
    if is_consumed.any():
        samples = plural(int(is_consumed.sum()), "forgotten sample")
        raise PatchFailed(f"no recorded update is left to subtract for {samples}")
    total = sum(log.subtract_rows(shares(log.forgotten_by_row(forget), log.sizes)) for log in logs.values())
    assert isinstance(total, Tensor)
    for log in logs.values():
        log.erase_members(forget)
    return ContributionsResult(vector=total.to(task.classifier.device), passes=0.0)


CONTRIBUTIONS: Mapping[Contributions, ContributionMethod] = {
    Contributions.CURVATURE: ContributionMethod(prepare=_curvature, influence=StrengthBounds(least=0.1, most=1.0)),
    Contributions.GRADIENT: ContributionMethod(prepare=_gradient),
    Contributions.GROUP: ContributionMethod(prepare=_group, recorder=_GroupRecorder),
    Contributions.BATCH: ContributionMethod(prepare=_batch, recorder=lambda model, _rows: _BatchRecorder(model)),
}


def stage_recorder(
    contributions: Contributions, model: nn.Module, *, stage: int, groups_per_slice: int | None
) -> UpdateRecorder | None:
    """Return what records the updates of a stage that is about to be trained; None if nothing is recorded."""
    recorder = CONTRIBUTIONS[contributions].recorder
    return recorder(model, (groups_per_slice or 0) * (stage + 1)) if recorder else None
