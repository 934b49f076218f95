from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.training.classifier import Classifier
from raymu.training.curvature import kfac
from raymu.training.curvature.conjugate_gradients import conjugate_gradients
from raymu.training.curvature.gauss_newton import GaussNewton
from raymu.training.curvature.kfac import Kfac
from raymu.training.losses import CrossEntropy, Loss
from raymu.training.targets import Classes
from tests.unit.training.curvature.examples import (
    CLASSES,
    FEATURES,
    LOSSES,
    MODELS,
    dense_gauss_newton,
    make_batch,
    make_model,
    parameters_of,
)

pytestmark = pytest.mark.usefixtures("one_determinism_class")
DAMPING = 0.01


def estimate(model: nn.Module, inputs: Tensor, *, seed: int = 3, loss: str = "cross-entropy") -> Kfac:
    generator = torch.Generator().manual_seed(seed)
    return kfac_of(model, LOSSES[loss], inputs, generator)


def kfac_of(model: nn.Module, loss: Loss, inputs: Tensor, generator: torch.Generator) -> Kfac:
    classifier = Classifier.around(model, loss, classes=CLASSES)
    return Kfac(classifier, classifier.prepared(inputs), damping=DAMPING, generator=generator)


def inverse(estimated: Kfac, model: nn.Module) -> Tensor:
    """Return the explicit matrix that `solve` multiplies by, in float64."""
    size = sum(parameter.numel() for parameter in parameters_of(model))
    return torch.stack([estimated.solve(column) for column in torch.eye(size)]).double()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_the_inverse_is_symmetric_and_positive_definite(name: str, loss: str) -> None:
    model, (inputs, _) = make_model(name), make_batch()
    matrix = inverse(estimate(model, inputs, loss=loss), model)
    torch.testing.assert_close(matrix, matrix.T, atol=1e-3, rtol=1e-3)
    eigenvalues = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
    assert eigenvalues.min() > 0.0
    assert eigenvalues.max() <= 1.001 / DAMPING


def test_the_factors_of_a_linear_layer_are_its_second_moments() -> None:
    model, (inputs, _) = make_model("logistic"), make_batch()
    loss = CrossEntropy()
    estimated = kfac_of(model, loss, inputs, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    logits = model(inputs)
    labels = Classes().draw(logits.detach(), generator)
    [slopes] = torch.autograd.grad(loss(logits, labels, "sum"), logits)
    rows = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    block = torch.kron(slopes.T @ slopes / len(rows), rows.T @ rows / len(rows)).double()
    vector = torch.randn(CLASSES, FEATURES + 1, generator=generator)
    expected = torch.linalg.solve(block + DAMPING * torch.eye(len(block)), vector.flatten().double())
    flat = torch.cat([vector[:, :-1].flatten(), vector[:, -1]])
    weight, bias = estimated.solve(flat).split([CLASSES * FEATURES, CLASSES])
    solution = torch.cat([weight.view(CLASSES, -1), bias[:, None]], dim=1)
    torch.testing.assert_close(solution.flatten().double(), expected, atol=1e-3, rtol=1e-3)


def on_places(layer: nn.Module, arrange: Callable[[Tensor], Tensor]) -> nn.Sequential:
    """Return a network that applies a layer to 8 places of 8 features each, and a linear one to the result."""

    class Arrange(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return arrange(inputs)

    return nn.Sequential(Arrange(), layer, nn.Flatten(), nn.Linear(8 * CLASSES, CLASSES))


def test_a_convolution_of_one_pixel_has_the_factors_of_a_linear_layer_on_a_sequence() -> None:
    inputs, _ = make_batch()
    by_place = on_places(nn.Linear(8, CLASSES), lambda inputs: inputs.view(-1, 8, 8))
    by_pixel = on_places(nn.Conv2d(8, CLASSES, 1), lambda inputs: inputs.view(-1, 8, 8).transpose(1, 2)[..., None])
    assert isinstance(by_pixel[1], nn.Conv2d)
    assert isinstance(by_place[1], nn.Linear)
    by_pixel.load_state_dict(
        {name: tensor.view_as(by_pixel.state_dict()[name]) for name, tensor in by_place.state_dict().items()}
    )
    with torch.no_grad():  # the places of a convolution come in another order
        heads = by_place[3], by_pixel[3]
        assert isinstance(heads[0], nn.Linear)
        assert isinstance(heads[1], nn.Linear)
        mixed = heads[0].weight.view(CLASSES, 8, CLASSES).transpose(1, 2)
        heads[1].weight.copy_(mixed.reshape(CLASSES, -1))
    size = 8 * CLASSES + CLASSES
    vector = torch.randn(sum(parameter.numel() for parameter in by_place.parameters()))
    solutions = [estimate(model, inputs).solve(vector)[:size] for model in (by_place, by_pixel)]
    torch.testing.assert_close(solutions[0], solutions[1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn", "lstm"])
def test_few_iterations_from_the_factors_come_nearer_than_few_from_nothing(name: str) -> None:
    model, (inputs, labels) = make_model(name), make_batch()
    loss = CrossEntropy()
    matrix = dense_gauss_newton(model, loss, inputs, labels)
    damped = matrix + DAMPING * torch.eye(len(matrix))
    right = torch.cat(
        [
            gradient.flatten()
            for gradient in torch.autograd.grad(loss(model(inputs[:3]), labels[:3]), parameters_of(model))
        ]
    )
    exact = torch.linalg.solve(damped, right.double())
    classifier = Classifier.around(model, loss, classes=CLASSES)
    products = GaussNewton(classifier, classifier.prepared(inputs), labels)

    def error(solution: Tensor) -> float:
        distance = solution.double() - exact
        return float(distance @ damped @ distance)

    def solve(precondition: Callable[[Tensor], Tensor]) -> Tensor:
        return conjugate_gradients(
            lambda vector: products.product(vector) + DAMPING * vector, right, precondition=precondition, iterations=2
        )

    assert error(solve(estimate(model, inputs).solve)) < 0.7 * error(solve(torch.clone))


def test_parameters_without_factors_get_the_mean_of_their_curvatures(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (inputs, labels) = make_model("logistic"), make_batch()
    monkeypatch.setattr(kfac, "LARGEST_FACTOR", 1)
    loss = CrossEntropy()
    diagonal = dense_gauss_newton(model, loss, inputs, labels).diagonal()
    weight, bias = diagonal[:-CLASSES].mean(), diagonal[-CLASSES:].mean()
    ones = torch.ones(len(diagonal))
    curvatures = torch.stack(
        [1.0 / kfac_of(model, loss, inputs, torch.Generator().manual_seed(seed)).solve(ones) for seed in range(300)]
    ).mean(dim=0)
    assert float(curvatures[0]) - DAMPING == pytest.approx(float(weight), rel=0.1)
    assert float(curvatures[-1]) - DAMPING == pytest.approx(float(bias), rel=0.1)


def test_rows_that_are_made_in_parts_add_up_to_the_same_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (inputs, _) = make_model("cnn"), make_batch()
    vector = torch.randn(sum(parameter.numel() for parameter in parameters_of(model)))
    whole = estimate(model, inputs).solve(vector)
    made: list[int] = []
    unfold = F.unfold

    def counted(images: Tensor, *args: object, **known: object) -> Tensor:
        made.append(len(images))
        return unfold(images, *args, **known)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "unfold", counted)
    monkeypatch.setattr(kfac, "_ROW_BYTES", 40_000)
    in_parts = estimate(model, inputs).solve(vector)
    assert max(made) < len(inputs) <= sum(made) / 2
    torch.testing.assert_close(in_parts, whole, atol=1e-3, rtol=1e-3)


def test_a_layer_may_be_called_by_the_name_of_its_argument() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(FEATURES, CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.head(input=inputs)
            return logits

    torch.manual_seed(0)
    named, (inputs, _) = Named(), make_batch()
    vector = torch.randn(sum(parameter.numel() for parameter in named.parameters()))
    assert torch.equal(estimate(named, inputs).solve(vector), estimate(named.head, inputs).solve(vector))


def test_labels_are_drawn_by_the_models_probabilities() -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().repeat(20_000, 1) + 5.0
    labels = Classes().draw(logits, torch.Generator().manual_seed(0))
    shares = torch.bincount(labels, minlength=4) / len(labels)
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.01, rtol=0.0)


def test_no_hook_stays_on_the_model() -> None:
    model, (inputs, _) = make_model("cnn"), make_batch()
    estimate(model, inputs)
    assert not any(module._forward_hooks for module in model.modules())
