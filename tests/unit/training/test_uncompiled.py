"""Optimizers train with the same bits without PyTorch's compiler, and do not import it."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from raymu.training.optimizers import OPTIMIZERS
from raymu.training.uncompiled import undecorated_step

PROGRAM = """
import sys
import torch
from raymu.config import TrainingConfig
from raymu.training.optimizers import build_optimizer

weights = torch.nn.Parameter(torch.ones(2))
for name in ("adam", "sgd", "adafactor"):
    optimizer = build_optimizer(iter([weights]), TrainingConfig(optimizer={"name": name}))
    weights.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


def trained(build: Callable[..., torch.optim.Optimizer], *, decorated: bool) -> torch.Tensor:
    """Return weights after some steps, and count the steps that a hook saw."""
    torch.manual_seed(3)
    weights = nn.Parameter(torch.randn(5, 3))
    optimizer = build([weights], lr=0.05)
    seen: list[int] = []
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    step = optimizer.step if decorated else partial(undecorated_step(type(optimizer)), optimizer)
    for number in range(5):
        optimizer.zero_grad()
        (weights * torch.arange(15).reshape(5, 3) - number).square().sum().backward()
        step()
    assert len(seen) == 5
    assert weights.requires_grad
    return weights.detach()


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=map(str, OPTIMIZERS))
def test_a_step_without_decorators_gives_the_same_bits(build: Callable[..., torch.optim.Optimizer]) -> None:
    assert torch.equal(trained(build, decorated=True), trained(build, decorated=False))


def test_an_optimizer_does_not_import_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False"]
