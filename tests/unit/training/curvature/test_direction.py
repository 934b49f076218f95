from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raymu.config import CurvatureConfig, UnlearningConfig
from raymu.core.partition import identity_hashes
from raymu.core.remedies import contributions_passes
from raymu.data.tables import SampleTable
from raymu.errors import PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.curvature.direction import CurvatureDirection
from raymu.training.losses import CrossEntropy, Loss
from tests.unit.training.curvature.examples import (
    CLASSES,
    FEATURES,
    MODELS,
    dense_gauss_newton,
    make_batch,
    make_model,
)

pytestmark = pytest.mark.usefixtures("one_determinism_class")


def make_retained(samples: int = 20, *, order: int | None = None) -> ShardSamples:
    """Return samples, whose rows came in an order of their own."""
    inputs, labels = make_batch(samples)
    rows = np.arange(samples) if order is None else np.random.default_rng(order).permutation(samples)
    table = SampleTable(ids=rows, features=inputs.numpy()[rows], labels=labels.numpy()[rows])
    hashes = identity_hashes(rows.tolist(), seed=0, purpose="sample")
    return ShardSamples.ordered(table, hashes=hashes, slices=np.zeros(samples, dtype=np.int64))


def make_classifier(model: nn.Module, loss: Loss | None = None) -> Classifier:
    return Classifier.around(model, loss or CrossEntropy(), classes=CLASSES)


def gradient_like(model: nn.Module) -> Tensor:
    """Return a vector of all parameters' size, 0 where they are not trained."""
    generator = torch.Generator().manual_seed(5)
    parts = [
        torch.randn(parameter.numel(), generator=generator) * parameter.requires_grad
        for parameter in model.parameters()
    ]
    return torch.cat(parts)


def solve(name: str, retain: ShardSamples | None = None, *, seed: int = 7, **settings: Any) -> tuple[Tensor, float]:
    model = make_model(name)
    config = CurvatureConfig(**settings)
    direction = CurvatureDirection(
        make_classifier(model), make_retained() if retain is None else retain, config, seed=seed
    )
    return direction.of(gradient_like(model))


@pytest.mark.parametrize("preconditioner", ["kfac", "none"])
@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn"])
def test_enough_iterations_give_the_solution_of_the_explicit_system(name: str, preconditioner: str) -> None:
    model, (inputs, labels) = make_model(name), make_batch()
    matrix = dense_gauss_newton(model, CrossEntropy(), inputs, labels)
    exact = torch.linalg.solve(matrix + 0.1 * torch.eye(len(matrix)), gradient_like(model).double())
    direction, _ = solve(name, iterations=60, damping=0.1, preconditioner=preconditioner)
    torch.testing.assert_close(direction.double(), exact, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_direction_is_the_same_bits_whatever_order_the_samples_came_in(name: str) -> None:
    torch.manual_seed(1)
    first, _ = solve(name, make_retained(order=1), samples=12)
    torch.manual_seed(2)
    second, _ = solve(name, make_retained(order=2), samples=12)
    assert torch.equal(first, second)


def test_other_seeds_draw_other_samples() -> None:
    assert not torch.equal(solve("mlp", samples=12, seed=1)[0], solve("mlp", samples=12, seed=2)[0])
    assert torch.equal(
        solve("mlp", samples=20, seed=1, preconditioner="none")[0], solve("mlp", seed=2, preconditioner="none")[0]
    )


def test_parameters_that_are_not_trained_or_not_used_stay_as_they_are() -> None:
    direction, _ = solve("frozen")
    frozen = FEATURES * 6 + 6
    assert not direction[:frozen].any()
    assert direction[frozen:].all()
    model = make_model("shared")
    used = torch.cat([torch.full((p.numel(),), "unused" not in name) for name, p in model.named_parameters()])
    retain = make_retained()
    config = CurvatureConfig(samples=10)
    direction, _ = CurvatureDirection(make_classifier(model), retain, config, seed=7).of(gradient_like(model) * used)
    assert not direction[~used].any()


def test_without_iterations_the_factors_alone_give_the_direction() -> None:
    alone, passes = solve("mlp", iterations=0)
    iterated, more_passes = solve("mlp", iterations=1)
    assert passes < more_passes
    assert torch.cosine_similarity(alone, iterated, dim=0) > 0.99999  # the first iteration only scales it


@pytest.mark.parametrize(
    "settings",
    [{}, {"iterations": 0}, {"preconditioner": "none", "iterations": 2}, {"samples": 5, "steps": 1}],
    ids=["default", "factors alone", "no factors", "few samples"],
)
def test_the_passes_of_all_steps_are_those_of_the_forecast(settings: dict[str, Any]) -> None:
    model, config = make_model("mlp"), CurvatureConfig(**settings)
    direction = CurvatureDirection(make_classifier(model), make_retained(20), config, seed=7)
    passes = sum(direction.of(gradient_like(model))[1] for _ in range(config.steps))
    unlearning = UnlearningConfig(curvature=config)
    assert passes == contributions_passes(unlearning, forgotten=0, retained=20, steps=config.steps)


def test_iterations_that_are_not_needed_are_not_counted() -> None:
    model = make_model("mlp")
    direction = CurvatureDirection(make_classifier(model), make_retained(20), CurvatureConfig(), seed=7)
    solution, passes = direction.of(torch.zeros_like(gradient_like(model)))
    assert not solution.any()
    assert passes == contributions_passes(
        UnlearningConfig(curvature=CurvatureConfig(iterations=0)), forgotten=0, retained=20, steps=1
    )


class OnceDifferentiable(torch.autograd.Function):
    """A layer of a user's whose derivative has no derivative."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        context.save_for_backward(inputs)
        return inputs.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        [inputs] = context.saved_tensors
        return gradient * inputs.exp()


class Exponential(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = OnceDifferentiable.apply(inputs)  # type: ignore[no-untyped-call]
        return outputs


def test_a_model_without_second_derivatives_is_a_failed_patch_that_says_so() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 3), Exponential(), nn.Linear(3, CLASSES))
    direction = CurvatureDirection(make_classifier(model), make_retained(), CurvatureConfig(), seed=7)
    with pytest.raises(PatchFailed, match="second derivatives that autograd does not have"):
        direction.of(gradient_like(model))


def test_without_retained_samples_there_is_no_curvature() -> None:
    with pytest.raises(PatchFailed, match="no sample is retained"):
        solve("mlp", make_retained(20).where(np.zeros(20, dtype=bool)))


def test_weights_that_are_not_finite_are_a_failed_patch() -> None:
    model = make_model("mlp")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.inf)
    direction = CurvatureDirection(make_classifier(model), make_retained(), CurvatureConfig(), seed=7)
    with pytest.raises(PatchFailed):
        direction.of(gradient_like(model))
