"""Losses: their values, their reductions, and what is refused."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from raymu.config import TrainingConfig
from raymu.errors import ConfigInvalid
from raymu.training.losses import Loss, build_loss, check_loss
from tests.support.shard_training import make_training_config

USER_CODE = "tests.unit.training.user_code"
WEIGHTS = [0.5, 1.0, 4.0]
LOSSES: dict[str, Any] = {
    "cross-entropy": "cross_entropy",
    "label smoothing": {"name": "cross_entropy", "label_smoothing": 0.2},
    "class weights": {"name": "cross_entropy", "class_weights": WEIGHTS},
    "a factory": {"factory": f"{USER_CODE}:focal_loss", "args": {"gamma": 2.0}},
}
every_loss = pytest.mark.parametrize("setting", LOSSES.values(), ids=LOSSES)


def loss_of(setting: Any) -> Loss:
    return build_loss(make_training_config(training={"loss": setting}).training.loss, classes=3)


def batch(samples: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(samples, 3, generator=random), torch.randint(0, 3, (samples,), generator=random)


@every_loss
def test_reductions_are_of_the_losses_of_the_samples(setting: Any) -> None:
    loss, (outputs, targets) = loss_of(setting), batch()
    losses = loss(outputs, targets, "none")
    assert losses.shape == (12,)
    assert float(loss(outputs, targets, "sum")) == pytest.approx(float(losses.sum()), rel=1e-6)
    assert float(loss(outputs, targets)) == pytest.approx(float(losses.mean()), rel=1e-6)


@every_loss
def test_the_mean_of_a_batch_is_the_weighted_mean_of_its_parts(setting: Any) -> None:
    loss, (outputs, targets) = loss_of(setting), batch()
    parts = [loss(outputs[:3], targets[:3]) * 3 / 12, loss(outputs[3:], targets[3:]) * 9 / 12]
    assert float(sum(parts)) == pytest.approx(float(loss(outputs, targets)), rel=1e-5)


def test_smoothing_and_weights_are_pytorchs() -> None:
    outputs, targets = batch()
    smoothed = F.cross_entropy(outputs, targets, label_smoothing=0.2, reduction="none")
    assert torch.equal(loss_of(LOSSES["label smoothing"])(outputs, targets, "none"), smoothed)
    weighted = F.cross_entropy(outputs, targets, torch.tensor(WEIGHTS), reduction="none")
    assert torch.equal(loss_of(LOSSES["class weights"])(outputs, targets, "none"), weighted)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown name": ({"name": "hinge"}, r"training\.loss\.name: must be cross_entropy"),
    "an unknown setting": (
        {"name": "cross_entropy", "smoothing": 0.1},
        r"training\.loss\.smoothing: cross_entropy has no such setting; it has label_smoothing, class_weights; did you",
    ),
    "smoothing out of range": (
        {"name": "cross_entropy", "label_smoothing": 1.0},
        r"training\.loss\.label_smoothing: must be less than 1",
    ),
    "too few weights": ({"name": "cross_entropy", "class_weights": [1.0]}, "has 1 weights for 3 classes"),
    "a factory that is not a path": ({"factory": "focal"}, "must read package.module:function"),
    "a factory that returns nothing": ({"factory": f"{USER_CODE}:nothing"}, "must return a function of outputs and"),
    "one number for all samples": ({"factory": f"{USER_CODE}:one_number"}, r"one loss per sample, \(3,\)"),
    "a name and a factory": ({"name": "cross_entropy", "factory": "a:b"}, "either a name or a factory"),
}


@pytest.mark.parametrize(("setting", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_loss_that_cannot_be_used_is_refused_with_the_setting(setting: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem) as refused:
        check_loss(loss_of(setting), classes=3)
    assert "\n" not in str(refused.value)


def test_a_name_alone_is_written_as_text_and_read_back() -> None:
    config = make_training_config(training={"loss": {"name": "cross_entropy"}})
    assert config.tree()["training"]["loss"] == "cross_entropy"
    assert TrainingConfig().loss is None
    for setting in LOSSES.values():
        chosen = make_training_config(training={"loss": setting})
        assert type(chosen).parse(chosen.tree()) == chosen
