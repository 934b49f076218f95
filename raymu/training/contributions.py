"""Contributions: the parameter updates that a patch subtracts, in three readings behind one interface.

How the hybrid framework's authors compute them is not known, so the readings stand side by side: `gradient` records nothing,
`group` one accumulated update per fixed batch and stage, `batch` every step's update (Amnesiac unlearning, Graves et al.,
AAAI 2021).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from raymu.errors import PatchFailed
from raymu.text import plural
from raymu.training.batches import BatchPlan, ShardSamples
from raymu.training.checkpoint_format import deserialize, serialize
from raymu.training.classifier import Classifier

_GRADIENT_BATCH = 4096


class UpdateRecorder(Protocol):
    """Keeps the updates of one stage while it trains."""

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None: ...

    @contextmanager
    def stepping(self, number: int, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Around the optimizer's step of the epoch's batch `number`, whose gradients are there."""
        ...

    def log(self) -> "UpdateLog": ...


@dataclass(kw_only=True, slots=True, eq=False)
class UpdateLog:
    """Recorded updates of one stage.

    updates: (rows, parameters) float16, one group or one step per row; zero once subtracted
    members: (entries,) int64, the hashes of the samples in each row, row after row; 0 for one that is forgotten
    sizes: (rows,) int64, members of each row when it was recorded: what its update is shared by
    spent: (rows,) bool, subtracted already

    A forgotten member leaves its entry behind, so no row loses its place or its size. It is never to be counted again:
    all rows that held it are spent, and what is still subtracted comes of rows that nobody has been forgotten from.
    """

    updates: Tensor
    members: Tensor
    sizes: Tensor
    spent: Tensor

    @classmethod
    def load(cls, payload: bytes, *, source: str) -> "UpdateLog":
        """Raises FileCorrupt."""
        return cls(**deserialize(payload, source=source))

    def dump(self) -> bytes:
        tensors = {"updates": self.updates, "members": self.members, "sizes": self.sizes, "spent": self.spent}
        return serialize(tensors, {})

    def forgotten_by_row(self, forget: ShardSamples) -> Tensor:
        """How many of a row's members are to be forgotten. returns: (rows,) int64"""
        rows = torch.repeat_interleave(torch.arange(len(self.sizes)), self.sizes)
        return torch.bincount(rows[self._holds(forget)], minlength=len(self.sizes))

    def has_left(self, forget: ShardSamples) -> Tensor:
        """Which of these samples a row holds that is not spent. returns: (samples,) bool"""
        is_left = torch.repeat_interleave(~self.spent, self.sizes)
        return torch.isin(_signed(forget), self.members[is_left])

    def erase_members(self, forget: ShardSamples) -> None:
        """Leave nothing that names these samples."""
        self.members[self._holds(forget)] = 0

    def take(self, shares: Tensor) -> Tensor:
        """Sum the rows, each times its share, and zero those that had one: no update is subtracted twice.

        shares: (rows,) within [0, 1]
        returns: (parameters,) float32
        """
        total = torch.zeros(self.updates.shape[1])
        for row in torch.nonzero(shares).flatten().tolist():
            total.add_(self.updates[row], alpha=float(shares[row]))  # in place: far quicker than an indexed sum
            self.updates[row] = 0
            self.spent[row] = True
        return total

    def _holds(self, samples: ShardSamples) -> Tensor:
        return torch.isin(self.members, _signed(samples))


def _signed(samples: ShardSamples) -> Tensor:
    """Their hashes as members are kept. returns: (samples,) int64"""
    return torch.from_numpy(samples.hashes.view(np.int64))


class _GroupRecorder:
    """One row per fixed batch: the sum of its steps over the stage's epochs."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        self._parameters = list(model.parameters())
        widths = [parameter.numel() for parameter in self._parameters]
        self._updates = torch.zeros(rows, sum(widths), device=self._parameters[0].device)
        self._views = [
            [part.view_as(parameter) for part, parameter in zip(row.split(widths), self._parameters, strict=True)]
            for row in self._updates
        ]
        self._members: dict[int, Tensor] = {}
        self._keys: tuple[int, ...] = ()

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        self._keys = batches.keys
        if not self._members:  # the same in every epoch
            self._members = dict(zip(batches.keys, _members(batches, samples), strict=True))

    @contextmanager
    def stepping(self, number: int, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        # Of plain SGD, the only optimizer that groups go with, the update is known before the step: no copy of the weights.
        settings = optimizer.param_groups[0]
        rate, decay = settings["lr"], settings["weight_decay"]
        for view, parameter in zip(self._views[self._keys[number]], self._parameters, strict=True):
            if parameter.grad is not None:
                view.add_(parameter.grad, alpha=-rate)
                if decay:
                    view.add_(parameter.detach(), alpha=-rate * decay)
        yield

    def log(self) -> UpdateLog:
        members = [self._members.get(row, torch.zeros(0, dtype=torch.int64)) for row in range(len(self._updates))]
        return _log(self._updates, members)


class _BatchRecorder:
    """One row per step."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._updates: list[Tensor] = []
        self._members: list[Tensor] = []

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        self._members.extend(_members(batches, samples))

    @contextmanager
    def stepping(self, number: int, optimizer: torch.optim.Optimizer) -> Iterator[None]:  # noqa: ARG002 - one signature
        before = parameters_to_vector(self._model.parameters()).detach().clone()
        yield
        after = parameters_to_vector(self._model.parameters()).detach()
        self._updates.append((after - before).half())

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
        spent=torch.zeros(len(sizes), dtype=torch.bool),
    )


Logs = Mapping[int, UpdateLog]


@dataclass(frozen=True, kw_only=True, slots=True)
class ContributionMethod:
    """One reading of contributions.

    recorder: (model, rows of fixed batches in the stage) -> what records a stage; None records nothing
    contributions: (classifier, forget set, logs by stage, rate) -> (parameters,) float32, to be subtracted from the weights;
        the logs lose both the updates and the names of the forget set;
        raises PatchFailed where nothing is left to subtract for a sample
    """

    recorder: Callable[[nn.Module, int], UpdateRecorder] | None
    contributions: Callable[[Classifier, ShardSamples, Logs, float], Tensor]


def _gradient(classifier: Classifier, forget: ShardSamples, logs: Logs, rate: float) -> Tensor:  # noqa: ARG001
    """What one step of plain gradient descent on the forget set, at the present weights, would add."""
    model = classifier.model.eval()  # no dropout, and batch norm by its running statistics
    model.zero_grad(set_to_none=True)
    for start in range(0, len(forget), _GRADIENT_BATCH):
        inputs = classifier.inputs(forget.features[start : start + _GRADIENT_BATCH])
        labels = torch.from_numpy(forget.labels[start : start + _GRADIENT_BATCH]).to(classifier.device)
        loss = F.cross_entropy(model(inputs), labels, reduction="sum") / len(forget)
        loss.backward()
    gradients = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in model.parameters()
    ]
    return -rate * parameters_to_vector(gradients)


def _group(classifier: Classifier, forget: ShardSamples, logs: Logs, rate: float) -> Tensor:  # noqa: ARG001
    """Each touched group's update, scaled by its forgotten share."""
    return _recorded(classifier, forget, logs, lambda counts, sizes: counts / sizes.clamp(min=1))


def _batch(classifier: Classifier, forget: ShardSamples, logs: Logs, rate: float) -> Tensor:  # noqa: ARG001
    """Every touched batch's update, whole."""
    return _recorded(classifier, forget, logs, lambda counts, _sizes: (counts > 0).double())


def _recorded(
    classifier: Classifier, forget: ShardSamples, logs: Logs, shares: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    is_gone = torch.ones(len(forget), dtype=torch.bool)
    for log in logs.values():
        is_gone &= ~log.has_left(forget)
    if is_gone.any():
        gone = plural(int(is_gone.sum()), "forgotten sample")
        raise PatchFailed(f"no recorded update is left to subtract for {gone}")
    total = sum(log.take(shares(log.forgotten_by_row(forget), log.sizes)) for log in logs.values())
    assert isinstance(total, Tensor)
    for log in logs.values():
        log.erase_members(forget)
    return total.to(classifier.device)


CONTRIBUTIONS: Mapping[str, ContributionMethod] = {
    "gradient": ContributionMethod(recorder=None, contributions=_gradient),
    "group": ContributionMethod(recorder=_GroupRecorder, contributions=_group),
    "batch": ContributionMethod(recorder=lambda model, _rows: _BatchRecorder(model), contributions=_batch),
}


def record_stage(reading: str, model: nn.Module, *, stage: int, groups_per_slice: int | None) -> UpdateRecorder | None:
    """What records the stage that is about to be trained; None where the reading records nothing."""
    recorder = CONTRIBUTIONS[reading].recorder
    return recorder(model, (groups_per_slice or 0) * (stage + 1)) if recorder else None
