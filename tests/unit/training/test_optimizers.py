"""Optimizers: their arguments, checkpoints that continue them, and what is refused."""

from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from raymu.config.training import OptimizerName
from raymu.errors import ConfigInvalid
from raymu.training.checks import check_training
from raymu.training.optimizers import build_optimizer
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import SLICES, make_plan, make_samples

pytestmark = pytest.mark.usefixtures("one_determinism_class")
CPU = torch.device("cpu")
USER_CODE = "tests.unit.training.user_code"


def built(**training: Any) -> torch.optim.Optimizer:
    parameters = iter([torch.nn.Parameter(torch.zeros(3))])
    return build_optimizer(parameters, make_plan(training=training).training)


def test_short_settings_and_arguments_reach_the_optimizer() -> None:
    short = built(optimizer="sgd", momentum=0.9, weight_decay=0.1, learning_rate=0.5).param_groups[0]
    assert (short["lr"], short["momentum"], short["weight_decay"]) == (0.5, 0.9, 0.1)
    full = built(optimizer={"name": "adamw", "betas": [0.8, 0.99], "eps": 1e-6}).param_groups[0]
    assert (tuple(full["betas"]), full["eps"], full["weight_decay"], full["fused"]) == ((0.8, 0.99), 1e-6, 0.0, True)


@pytest.mark.parametrize("name", OptimizerName)
def test_retraining_from_a_checkpoint_equals_training_from_scratch_with(name: OptimizerName) -> None:
    spec = make_plan(training={"optimizer": name.value, "learning_rate": 0.01})
    assert not check_training(spec)
    samples = make_samples()
    retained = samples.where(samples.hashes != samples.hashes[samples.slices == SLICES - 1][0])
    before, restored, scratch = (ShardTrainer(spec, 0, CPU) for _ in range(3))
    for stage in range(SLICES - 1):
        before.train_stage(samples, stage)
    payload, _ = before.dump(stage=SLICES - 2, determinism="one class")
    restored.load(payload, source="a checkpoint")
    restored.train_stage(retained, SLICES - 1)
    for stage in range(SLICES):
        scratch.train_stage(retained, stage)
    ends = [trainer.dump(stage=SLICES - 1, determinism="one class") for trainer in (restored, scratch)]
    assert ends[0] == ends[1]


def test_a_factorys_parameter_groups_keep_their_rates_proportions() -> None:
    factory = {"factory": f"{USER_CODE}:two_rates", "args": {"share": 0.25}}
    spec = make_plan(training={"optimizer": factory, "learning_rate": 0.1})
    trainer = ShardTrainer(spec, 0, CPU)
    trainer.set_rate(0.02)
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([0.02, 0.005])


def test_clipping_bounds_the_step() -> None:
    samples = make_samples()
    spec = make_plan(training={"max_grad_norm": 1e-3, "learning_rate": 1.0, "epochs": 4})
    trainer, start = ShardTrainer(spec, 0, CPU), ShardTrainer(spec, 0, CPU)
    steps = spec.epochs[0] * 3
    trainer.train_stage(samples, 0)
    ends = [parameters_to_vector(each.classifier.model.parameters()).detach() for each in (start, trainer)]
    assert 0.0 < float((ends[1] - ends[0]).norm()) <= 1.01e-3 * steps


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown name": ({"optimizer": "sdg"}, r"training\.optimizer\.name: must be adadelta.*; did you mean sgd\?"),
    "an unknown setting": (
        {"optimizer": {"name": "sgd", "nesterof": True}},
        r"training\.optimizer\.nesterof: sgd has no such setting; it has .*; did you mean nesterov\?",
    ),
    "its own learning rate": ({"optimizer": {"name": "sgd", "lr": 1.0}}, r"training\.optimizer\.lr: sgd has no such"),
    "another implementation": ({"optimizer": {"name": "adam", "fused": False}}, r"optimizer\.fused: adam has no such"),
    "an option without what it needs": (
        {"optimizer": {"name": "sgd", "nesterov": True}},
        r"training\.optimizer: sgd cannot be built \(Nesterov momentum requires a momentum.*\); check its settings",
    ),
    "momentum for adam": ({"optimizer": "adam", "momentum": 0.9}, "momentum is a setting of sgd"),
    "momentum twice": ({"optimizer": {"name": "sgd", "momentum": 0.5}, "momentum": 0.9}, "momentum is given twice"),
    "weight decay that it has not": (
        {"optimizer": "rprop", "weight_decay": 0.1},
        r"training\.weight_decay: rprop has no such setting; leave it out",
    ),
    "weight decay for a factory": (
        {"optimizer": {"factory": "a:b"}, "weight_decay": 0.1},
        "give it in optimizer.args",
    ),
    "a factory that returns nothing": ({"optimizer": {"factory": f"{USER_CODE}:nothing"}}, "nothing failed"),
    "a state of more than tensors": (
        {"optimizer": {"factory": f"{USER_CODE}:counting"}},
        "steps in its state is not a tensor",
    ),
    "a schedule below zero": ({"schedule": {"factory": f"{USER_CODE}:negative"}}, "factors are numbers from 0 up"),
    "a schedule with a setting": ({"schedule": {"name": "linear", "floor": 0.1}}, "linear has no setting floor"),
    "no gradient at all": ({"max_grad_norm": 0.0}, r"training\.max_grad_norm: must be greater than 0"),
}


@pytest.mark.parametrize(("training", "problem"), REFUSED.values(), ids=REFUSED)
def test_training_that_cannot_be_done_is_refused_with_the_setting(training: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem) as refused:
        check_training(make_plan(training=training))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "training",
    [
        {"momentum": 0.9},
        {"optimizer": "adam"},
        {"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0.9}},
        {"max_grad_norm": 1.0},
        {"optimizer": {"factory": f"{USER_CODE}:two_rates"}},
    ],
)
def test_groups_need_plain_sgd(training: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigInvalid, match="contributions group needs sgd without momentum, clipping or other options"
    ):
        make_plan(training=training, unlearning={"contributions": "group", "groups_per_slice": 2})
