"""Contributions: the parameter updates that a patch subtracts, by one of four methods.

How the hybrid framework's authors compute them is not known, so several methods stand side by side. `curvature` and
`gradient` record nothing: they start from the forget set's present gradient. `group` records one accumulated update per fixed
batch and stage, `batch` every step's update (Amnesiac unlearning, Graves et al., AAAI 2021). Recorders are hooks of the
optimizer; the training loop does not know them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from raymu.config import CurvatureConfig
from raymu.config.unlearning import Contributions
from raymu.errors import PatchFailed
from raymu.text import plural
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.curvature.direction import CurvatureDirection
from raymu.training.curvature.gauss_newton import twice_differentiable
from raymu.training.data_parallel_gradients import dense_gradient
from raymu.training.recorded_updates import BatchRecorder, GroupRecorder, UpdateLog, UpdateRecorder

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
    Contributions.GROUP: ContributionMethod(prepare=_group, recorder=GroupRecorder),
    Contributions.BATCH: ContributionMethod(prepare=_batch, recorder=lambda model, _rows: BatchRecorder(model)),
}


def stage_recorder(
    contributions: Contributions, model: nn.Module, *, stage: int, groups_per_slice: int | None
) -> UpdateRecorder | None:
    """Return what records the updates of a stage that is about to be trained; None if nothing is recorded."""
    recorder = CONTRIBUTIONS[contributions].recorder
    return recorder(model, (groups_per_slice or 0) * (stage + 1)) if recorder else None
