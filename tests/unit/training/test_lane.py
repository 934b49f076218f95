"""The law of lanes: what a shard becomes depends on the width of its lane and on its own samples alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raymu.data.rows import as_array
from raymu.data.tables import SampleTable
from raymu.errors import ConfigInvalid
from raymu.training.batches import ShardSamples
from raymu.training.checkpoint_format import tensor_bytes
from raymu.training.determinism import describe_difference, determinism_class, deterministic
from raymu.training.lane import lane_state, train_lane_stage
from raymu.training.lane_checks import check_lane, require_independent
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import SLICES, make_plan, make_samples, make_table

CPU = torch.device("cpu")
WIDTH = 3
SHARDS = {3: 40, 4: 26, 5: 9}
"""Shards of the second lane, and how many samples each has."""

State = dict[str, bytes]


@pytest.fixture(autouse=True)
def _pinned() -> Any:
    with deterministic(CPU, threads=1):
        yield


def lane_spec(**branches: dict[str, Any]) -> TrainingSpec:
    return replace(make_plan(**branches), lane=WIDTH)


def samples_of(shard: int) -> ShardSamples:
    table = make_table(SHARDS[shard])
    return make_samples(
        SampleTable(ids=table.ids + 1000 * shard, features=as_array(table.features) + 0.1 * shard, labels=table.labels)
    )


def state_of(trainer: ShardTrainer) -> State:
    return {name: tensor_bytes(tensor) for name, tensor in trainer.state().items()}


def train_together(
    spec: TrainingSpec, shards: dict[int, ShardSamples]
) -> tuple[dict[int, State], dict[int, list[bytes]]]:
    """Train shards of one lane. Returns the last state of each, and its checkpoints."""
    trainers = {shard: ShardTrainer(spec, shard, CPU) for shard in shards}
    checkpoints: dict[int, list[bytes]] = {shard: [] for shard in shards}
    for stage in range(SLICES):
        train_lane_stage(list(trainers.values()), list(shards.values()), stage)
        for shard, trainer in trainers.items():
            checkpoints[shard].append(trainer.dump(stage=stage, determinism="a lane")[0])
    return {shard: state_of(trainer) for shard, trainer in trainers.items()}, checkpoints


def train_alone(spec: TrainingSpec, shard: int, samples: ShardSamples, checkpoint: bytes | None = None) -> State:
    """Train a shard beside places without work: from new weights, or after the checkpoint of stage 0."""
    trainer = ShardTrainer(spec, shard, CPU)
    if checkpoint is not None:
        trainer.load(checkpoint, source="a checkpoint")
    for stage in range(0 if checkpoint is None else 1, SLICES):
        trainer.train_stage(samples, stage)
    return state_of(trainer)


OTHERS = ("adafactor", "nadam", "adadelta", "adagrad", "adamax", "asgd", "radam", "rmsprop", "rprop")
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"training": {"momentum": 0.9, "max_grad_norm": 0.1}},
    "nesterov": {"training": {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}, "weight_decay": 0.01}},
    "dampening": {"training": {"optimizer": {"name": "sgd", "momentum": 0.9, "dampening": 0.5}}},
    "adam": {"training": {"optimizer": "adam", "learning_rate": 0.01, "schedule": "cosine"}},
    "amsgrad": {
        "training": {"optimizer": {"name": "adam", "amsgrad": True}, "learning_rate": 0.01, "weight_decay": 0.1}
    },
    "adamw": {"training": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}},
    "in parts": {"training": {"accumulate": 3}},
    "bf16": {"training": {"precision": "bf16"}},
    "dropout": {"model": {"name": "mlp", "hidden": [6], "dropout": 0.4}, "training": {"optimizer": "adam"}},
    "convolutions": {"model": {"name": "cnn", "channels": [2], "hidden": 3, "image_shape": [1, 2, 2]}},
    "a factory's loss": {
        "training": {"loss": {"factory": "tests.unit.training.user_code:focal_loss", "args": {"gamma": 2.0}}}
    },
    **{name: {"training": {"optimizer": name, "learning_rate": 0.01}} for name in OTHERS},
}


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=pytest.mark.nightly if name in OTHERS[2:] else ()) for name in RECIPES]
)
def test_a_shard_alone_has_the_bits_that_it_has_beside_others(recipe: str) -> None:
    spec = lane_spec(**RECIPES[recipe])
    shards = {shard: samples_of(shard) for shard in SHARDS}
    together, checkpoints = train_together(spec, shards)
    for shard, samples in shards.items():
        assert train_alone(spec, shard, samples) == together[shard]
        assert train_alone(spec, shard, samples, checkpoints[shard][0]) == together[shard]


@pytest.mark.parametrize("recipe", ["momentum", "adam"])
def test_forgetting_in_one_shard_changes_no_bit_of_another(recipe: str) -> None:
    spec = lane_spec(**RECIPES[recipe])
    shards = {shard: samples_of(shard) for shard in SHARDS}
    before, _ = train_together(spec, shards)
    is_kept = np.arange(len(shards[3])) % 4 > 0
    after, _ = train_together(spec, shards | {3: shards[3].where(is_kept)})
    assert after[3] != before[3]
    assert {shard: after[shard] for shard in (4, 5)} == {shard: before[shard] for shard in (4, 5)}
    assert train_alone(spec, 3, shards[3].where(is_kept)) == after[3]


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in ("bf16", "dropout", *OTHERS[2:])])
def test_a_lane_computes_what_a_single_shard_does_up_to_rounding(recipe: str) -> None:
    spec = lane_spec(**RECIPES[recipe])
    trainers = [ShardTrainer(each, 4, CPU) for each in (spec, replace(spec, lane=1))]
    for trainer in trainers:
        for stage in range(SLICES):
            trainer.train_stage(samples_of(4), stage)
    states = [trainer.state() for trainer in trainers]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-3, atol=1e-4)
    losses = [trainer.measures.loss for trainer in trainers if trainer.measures and trainer.measures.loss]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_a_place_without_a_batch_keeps_its_bits(optimizer: str) -> None:
    """Shard 5 has fewer steps in an epoch than shard 3; alone it takes those, and no others."""
    spec = lane_spec(training={"optimizer": optimizer, "learning_rate": 0.01, "batch_size": 3})
    shards = {shard: samples_of(shard) for shard in (3, 5)}
    together, _ = train_together(spec, shards)
    assert train_alone(spec, 5, shards[5]) == together[5]


def test_a_shard_without_samples_in_a_stage_is_not_trained() -> None:
    spec, samples = lane_spec(), samples_of(3)
    later = samples.where(samples.slices > 0)
    trainers = [ShardTrainer(spec, shard, CPU) for shard in (3, 4)]
    before = state_of(trainers[0])
    assert train_lane_stage(trainers, [later, samples_of(4)], 0)[0] == 0
    assert state_of(trainers[0]) == before
    assert trainers[0].measures is None


def test_the_width_of_a_lane_is_in_the_determinism_class() -> None:
    alone, in_lane = (determinism_class(CPU, 1, lane=width).json() for width in (1, 3))
    assert "lane" not in alone, "runs that are older than lanes have this class"
    assert describe_difference(alone, in_lane) == "lane None, now 3"


def test_the_weights_of_a_trainer_are_its_own_after_a_stage() -> None:
    trainers = [ShardTrainer(lane_spec(), shard, CPU) for shard in (3, 4)]
    train_lane_stage(trainers, [samples_of(3), samples_of(4)], 0)
    for parameter in trainers[0].classifier.model.parameters():
        assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()


@pytest.mark.parametrize(
    ("branches", "problem"),
    [
        ({"model": {"name": "mlp", "hidden": [4], "batch_norm": True}}, "batch norm"),
        ({"model": {"factory": "tests.unit.training.test_lane:Counted", "args": {}}}, "changes the buffer steps"),
        ({"model": {"factory": "tests.unit.training.test_lane:Branching", "args": {}}}, "cannot be batched"),
    ],
)
def test_what_cannot_be_batched_is_refused_in_a_line(branches: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"{problem}.*set cluster.shards_per_lane: 1"):
        check_lane(lane_spec(**branches))


@pytest.mark.parametrize(
    "model",
    [
        {"name": "mlp", "hidden": [12, 12], "trainable": "adapters", "adapters": {"rank": 2}},
        {"name": "mlp", "hidden": [12, 12], "batch_norm": True, "trainable": "head"},
    ],
)
def test_parts_of_a_model_can_be_trained_in_a_lane(model: dict[str, Any]) -> None:
    spec, _ = lane_spec(model=model).with_base()
    check_lane(spec)
    shards = {shard: samples_of(shard) for shard in SHARDS}
    together, _ = train_together(spec, shards)
    assert train_alone(spec, 4, shards[4]) == together[4]


def test_the_proof_sees_a_place_that_depends_on_others(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = ShardTrainer(lane_spec(), 4, CPU)
    before = state_of(trainer)
    require_independent(trainer)
    assert state_of(trainer) == before
    with lane_state({1: trainer}) as lane:
        compute = type(lane).gradients

    def leak(lane: Any, step: Any) -> torch.Tensor:
        losses = compute(lane, step)
        for parameter in lane.parameters.values():
            parameter.grad += 1e-6 * parameter.sum()
        return losses

    monkeypatch.setattr(type(lane), "gradients", leak)
    with pytest.raises(ConfigInvalid, match="depends on the other shards"):
        require_independent(trainer)


class Counted(torch.nn.Linear):
    """Counts its calls, in a buffer."""

    steps: torch.Tensor

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.steps = self.steps + 1
        return super().forward(inputs)


class Branching(torch.nn.Linear):
    """Decides by the values of a batch."""

    def __init__(self) -> None:
        super().__init__(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(inputs)
        return outputs if outputs.sum() > 0 else -outputs
