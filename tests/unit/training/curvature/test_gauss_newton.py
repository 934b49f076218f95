import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from raymu.training.checkpoint_format import weights_sha256
from raymu.training.classifier import Classifier
from raymu.training.curvature import gauss_newton
from raymu.training.curvature.gauss_newton import GaussNewton, weighted
from raymu.training.losses import CrossEntropy, FactoryLoss, Loss
from tests.unit.training.curvature.examples import (
    CLASSES,
    LOSSES,
    MODELS,
    dense_gauss_newton,
    make_batch,
    make_model,
    parameters_of,
)

pytestmark = pytest.mark.usefixtures("one_determinism_class")


def products_of(model: torch.nn.Module, loss: Loss, inputs: torch.Tensor, labels: torch.Tensor) -> GaussNewton:
    classifier = Classifier.around(model, loss, classes=CLASSES)
    return GaussNewton(classifier, classifier.prepared(inputs), labels)


def random_vector(model: torch.nn.Module, seed: int = 2) -> torch.Tensor:
    size = sum(parameter.numel() for parameter in parameters_of(model))
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_a_product_is_that_of_the_explicit_matrix(name: str, loss: str) -> None:
    model, (inputs, labels) = make_model(name), make_batch()
    vector = random_vector(model)
    with sdpa_kernel(SDPBackend.MATH):
        matrix = dense_gauss_newton(model, LOSSES[loss], inputs, labels)
    before = weights_sha256(model.state_dict())
    product = products_of(model, LOSSES[loss], inputs, labels).product(vector)
    torch.testing.assert_close(product.double(), matrix @ vector.double(), atol=1e-5, rtol=1e-4)
    assert product.abs().max() > 1e-3
    assert weights_sha256(model.state_dict()) == before


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_activations_that_are_kept_or_computed_again_give_the_same_bits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (inputs, labels) = make_model(name), make_batch()
    vector = random_vector(model)
    monkeypatch.setattr(gauss_newton, "CHUNK", 7)
    kept = products_of(model, CrossEntropy(), inputs, labels)
    first = kept.product(vector)
    assert torch.equal(kept.product(vector), first)
    monkeypatch.setattr(gauss_newton, "_KEPT_BYTES", 0)
    assert torch.equal(products_of(model, CrossEntropy(), inputs, labels).product(vector), first)


def test_chunks_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (inputs, labels) = make_model("cnn"), make_batch()
    vector = random_vector(model)
    whole = products_of(model, CrossEntropy(), inputs, labels).product(vector)
    monkeypatch.setattr(gauss_newton, "CHUNK", 3)
    torch.testing.assert_close(products_of(model, CrossEntropy(), inputs, labels).product(vector), whole)


def test_a_loss_that_is_linear_in_the_outputs_has_no_curvature() -> None:
    model, (inputs, labels) = make_model("mlp"), make_batch()
    linear = FactoryLoss(per_sample=lambda outputs, targets: -outputs.gather(1, targets[:, None])[:, 0])
    assert not products_of(model, linear, inputs, labels).product(random_vector(model)).any()


@pytest.mark.parametrize("name", MODELS)
def test_weighted_outputs_have_the_derivatives_of_grad_outputs_bit_for_bit(name: str) -> None:
    model, (inputs, _) = make_model(name), make_batch()
    parameters = parameters_of(model)
    with sdpa_kernel(SDPBackend.MATH):
        outputs = model.eval()(inputs)
    dual = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(3)).requires_grad_()
    parts = [torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)) for parameter in parameters]
    expected = torch.autograd.grad(outputs, parameters, grad_outputs=dual, create_graph=True, materialize_grads=True)
    pulled = torch.autograd.grad(weighted(outputs, dual), parameters, create_graph=True, materialize_grads=True)
    assert all(map(torch.equal, pulled, expected))
    reached = [triple for triple in zip(pulled, expected, parts, strict=True) if triple[0].requires_grad]
    [twice] = torch.autograd.grad([weighted(gradient, part) for gradient, _, part in reached], dual)
    [expected_twice] = torch.autograd.grad(
        [gradient for _, gradient, _ in reached], dual, grad_outputs=[part for *_, part in reached]
    )
    assert torch.equal(twice, expected_twice)
