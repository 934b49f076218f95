import random
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raymu.config import ModelConfig
from raymu.errors import ConfigInvalid
from raymu.training.checkpoint_format import weights_sha256
from raymu.training.classifier import Classifier
from raymu.training.losses import CrossEntropy
from raymu.training.model_trial import check_model, try_out
from raymu.training.models import build_model, has_batch_norm
from raymu.training.spec import TrainingSpec
from tests.support.shard_training import make_training_config

HERE = __name__


def model_config(**settings: Any) -> ModelConfig:
    return make_training_config(model=settings).model


def build(input_shape: tuple[int, ...] = (4,), classes: int = 3, **settings: Any) -> nn.Module:
    return build_model(model_config(**settings), input_shape=input_shape, classes=classes)


BUILT_IN: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "logistic, flat": ((7,), {"name": "logistic"}),
    "logistic, image": ((3, 8, 6), {"name": "logistic"}),
    "mlp, flat": ((7,), {"name": "mlp"}),
    "mlp, image": ((8, 6), {"name": "mlp", "hidden": [5, 4], "dropout": 0.5, "batch_norm": True}),
    "mlp without hidden layers": ((7,), {"name": "mlp", "hidden": []}),
    "cnn, flat square": ((64,), {"name": "cnn", "hidden": 6}),
    "cnn, flat with an image shape": ((96,), {"name": "cnn", "image_shape": [2, 6, 8], "channels": [3], "hidden": 6}),
    "cnn, grey": ((9, 7), {"name": "cnn", "channels": [3, 2], "hidden": 6, "dropout": 0.1}),
    "cnn, colour": ((3, 9, 7), {"name": "cnn", "channels": [3], "hidden": 6}),
    "resnet, flat square": ((64,), {"name": "resnet", "channels": [4, 6]}),
    "resnet, flat with an image shape": ((96,), {"name": "resnet", "image_shape": [2, 6, 8], "channels": [3]}),
    "resnet, grey": ((9, 7), {"name": "resnet", "channels": [4, 4, 6], "blocks": 2}),
    "resnet, colour": ((3, 9, 7), {"name": "resnet", "channels": [4]}),
}


def spec_of(model: ModelConfig, input_shape: tuple[int, ...] = (4,), classes: int = 3) -> TrainingSpec:
    config = replace(make_training_config(), model=model)
    return TrainingSpec.of(config, input_shape=input_shape, classes=classes)


def try_model(model: nn.Module, input_shape: tuple[int, ...], classes: int) -> None:
    spec = spec_of(model_config(name="logistic"), input_shape, classes)
    try_out(Classifier.around(model, CrossEntropy(), classes=classes), spec)


@pytest.mark.parametrize(("input_shape", "settings"), BUILT_IN.values(), ids=BUILT_IN)
def test_a_built_in_model_gives_logits_for_every_input_shape(
    input_shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    model = build(input_shape, 5, **settings)
    try_model(model, input_shape, 5)
    model.train()
    logits = model(torch.rand(3, *input_shape))
    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("input_shape", "settings"), BUILT_IN.values(), ids=BUILT_IN)
def test_initial_weights_come_from_the_random_state_alone(
    input_shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    def built(seed: int) -> str:
        torch.manual_seed(seed)
        return weights_sha256(build(input_shape, 5, **settings).state_dict())

    assert built(1) == built(1) != built(2)


# Factories as a user would write them.


def build_tiny(features: int = 4, classes: int = 3, bias: bool = True) -> nn.Module:
    return nn.Linear(features, classes, bias=bias)


def build_failing() -> nn.Module:
    raise FileNotFoundError("weights.bin\nis not there")


def build_number() -> int:
    return 7


class Moody(nn.Module):
    """A model that behaves differently in training."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self._forward = forward

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.linear(inputs)
        return self._forward(logits) if self.training else logits


class Annotated(nn.Linear):
    """A model whose state has more than tensors and JSON."""

    def get_extra_state(self) -> dict[str, object]:
        return {"version": object()}

    def set_extra_state(self, state: object) -> None:
        """Ignore the state."""


def fail(_logits: Tensor) -> Tensor:
    raise KeyError("no such\nlayer")


class Forwarding(nn.Module):
    """A model that applies a function to its input."""

    def __init__(self, forward: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3))
        self._forward = forward

    def forward(self, inputs: Tensor) -> Any:
        return self._forward(inputs @ self.weight)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown name": (
        {"name": "vgg"},
        r"model\.name: must be logistic, mlp, cnn, resnet, timm, torchvision or transformers",
    ),
    "an unknown setting": ({"name": "mlp", "layers": 2}, r"model\.layers: mlp has no such setting; it has hidden, dro"),
    "a setting of a model without any": ({"name": "logistic", "hidden": 2}, r"model\.hidden: .* it has none"),
    "a setting of the wrong type": ({"name": "mlp", "hidden": 8}, r"model\.hidden: must be a list"),
    "text for numbers": ({"name": "mlp", "hidden": "88"}, r"model\.hidden: must be a list"),
    "a setting out of range": ({"name": "mlp", "dropout": 1.5}, r"model\.dropout: must be less than 1"),
    "a layer of no units": ({"name": "mlp", "hidden": [8, 0]}, r"model\.hidden\.1: must be at least 1"),
    "text for a boolean": ({"name": "mlp", "batch_norm": "maybe"}, r"model\.batch_norm: must be true or false"),
    "a negative number of blocks": ({"name": "resnet", "blocks": -1}, r"model\.blocks: must be at least 1"),
    "an image of text": ({"name": "cnn", "image_shape": ["a"]}, r"model\.image_shape\.0: must be a whole number"),
    "an image of nothing": ({"name": "cnn", "image_shape": [1, 0, 0]}, r"model\.image_shape\.1: must be at least 1"),
    "an image that does not fit": (
        {"name": "cnn", "image_shape": [1, 3, 3]},
        r"image_shape: \(4,\) .* not an image of sh",
    ),
    "an image too small to pool": ({"name": "cnn", "channels": [2, 2]}, r"2x2 is too small to halve 2 times"),
    "no channels": ({"name": "resnet", "channels": []}, r"model\.channels: must not be empty"),
    "more weights than memory": (
        {"name": "mlp", "hidden": [10**6, 10**6]},
        "model: mlp cannot be built .*check its settings",
    ),
    "a factory without a function": ({"factory": HERE}, "must read package.module:function"),
    "a factory without a module": ({"factory": ":build_tiny"}, "must read package.module:function"),
    "a missing module": (
        {"factory": "no_such.module:build"},
        r"no_such\.module cannot be imported .*install",
    ),
    "a module that fails": ({"factory": f"{__package__}.broken_factory:build"}, "cannot be imported .no licence for"),
    "a module that exits": ({"factory": f"{__package__}.exiting_factory:build"}, "cannot be imported .no licence"),
    "a factory that exits": ({"factory": "sys:exit", "args": {}}, "sys:exit failed .SystemExit"),
    "a relative module": ({"factory": ".models:build"}, "must read package.module:function"),
    "a missing function": ({"factory": f"{HERE}:build_huge"}, "has no build_huge; check the name"),
    "a factory that fails": (
        {"factory": f"{HERE}:build_failing"},
        r"build_failing failed \(weights.bin is not there\)",
    ),
    "arguments that do not fit": (
        {"factory": f"{HERE}:build_tiny", "args": {"depth": 3}},
        r"failed .*depth.*model\.args",
    ),
    "no function at all": ({"factory": f"{HERE}:HERE"}, "HERE failed .*not callable"),
    "a factory of something else": ({"factory": f"{HERE}:build_number"}, "returned int; it must return an nn.Module"),
}


@pytest.mark.parametrize(("settings", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_model_that_cannot_be_built_is_refused_with_the_setting(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        build(**settings)


def test_a_factory_builds_the_users_model_from_its_arguments() -> None:
    model = build(factory=f"{HERE}:build_tiny", args={"bias": False})
    assert isinstance(model, nn.Linear)
    assert model.bias is None
    try_model(model, (4,), 3)


UNFIT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no parameters": (nn.Flatten, "has no parameters to train"),
    "frozen parameters": (lambda: build_tiny().requires_grad_(False), "has no parameters to train"),
    "other inputs": (lambda: build_tiny(features=5), r"fails on samples of shape \(4,\)"),
    "other classes": (lambda: build_tiny(classes=2), r"gives \(2, 2\) for 2 samples; .* logits of shape \(2, 3\)"),
    "one row for all": (lambda: Forwarding(lambda logits: logits.sum(0)), r"gives \(3,\) for 2 samples"),
    "a tuple": (lambda: Forwarding(lambda logits: (logits, logits)), "gives tuple for 2 samples"),
    "two rows always": (lambda: Forwarding(lambda logits: logits[:2]), r"gives \(2, 3\) for 3 samples"),
    "an exit": (lambda: Forwarding(lambda _logits: sys.exit(5)), r"fails on samples of shape \(4,\) \(5\)"),
    "other classes in training": (lambda: Moody(lambda logits: logits[:, :2]), r"gives \(3, 2\) for 3 samples"),
    "an error in training": (lambda: Moody(fail), r"fails in training on samples of shape \(4,\) .*no such.*layer"),
    "logits without a gradient": (lambda: Moody(Tensor.detach), "cannot be trained .*does not require grad"),
    "a state of more than tensors": (lambda: Annotated(4, 3), "its extra state is not .*it holds a object"),
    "integers": (lambda: Forwarding(lambda logits: logits.long()), r"it must give logits of shape \(2, 3\)"),
}


@pytest.mark.parametrize(("make", "problem"), UNFIT.values(), ids=UNFIT)
def test_a_model_whose_logits_do_not_fit_is_refused(make: Callable[[], nn.Module], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        try_model(make(), (4,), 3)


class Noisy(nn.Module):
    """Draws random numbers in evaluation mode too."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + torch.rand_like(inputs)


def build_noisy(features: int = 4) -> nn.Module:
    return nn.Sequential(Noisy(), nn.Linear(features, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))


def build_lazy() -> nn.Module:
    return nn.LazyLinear(3)


def build_by_other_chance() -> nn.Module:
    model = nn.Linear(4, 3)
    nn.init.constant_(model.bias, random.SystemRandom().random())
    return model


def build_by_other_shape() -> nn.Module:
    return nn.Sequential(nn.Linear(4, random.SystemRandom().randint(1, 10**6)), nn.LazyLinear(3))


def build_by_python_and_numpy() -> nn.Module:
    model = nn.Linear(4, 3)
    nn.init.constant_(model.bias, random.random() + np.random.rand())
    return model


@pytest.mark.parametrize("features", [4, 5], ids=["fits", "fails"])
def test_checking_a_model_leaves_the_random_state_as_it_was(features: int) -> None:
    config = model_config(factory=f"{HERE}:build_noisy", args={"features": features})
    before = torch.get_rng_state().tolist()
    try:
        assert check_model(spec_of(config))
    except ConfigInvalid:
        assert features == 5
    assert torch.get_rng_state().tolist() == before


@pytest.mark.parametrize("factory", ["build_tiny", "build_noisy", "build_lazy", "build_by_python_and_numpy"])
def test_a_model_that_global_generators_decide_on_is_accepted(factory: str) -> None:
    assert check_model(spec_of(model_config(factory=f"{HERE}:{factory}"))) == (factory == "build_noisy")


@pytest.mark.parametrize("factory", ["build_by_other_chance", "build_by_other_shape"])
def test_a_factory_that_gives_another_model_each_time_is_refused(factory: str) -> None:
    with pytest.raises(ConfigInvalid, match="gives another model each time; let the global generators of torch"):
        check_model(spec_of(model_config(factory=f"{HERE}:{factory}")))


@pytest.mark.parametrize(
    ("model", "has_any"),
    [
        (build(name="mlp", batch_norm=True), True),
        (build((16,), name="resnet"), True),
        (build((16,), name="cnn"), False),
        (nn.Sequential(nn.Sequential(nn.LazyBatchNorm2d())), True),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3)), False),
    ],
    ids=["mlp", "resnet", "cnn", "lazy", "untracked"],
)
def test_batch_norm_is_detected_by_its_running_statistics(model: nn.Module, has_any: bool) -> None:
    assert has_batch_norm(model) is has_any
