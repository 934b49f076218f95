from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raymu.errors import RankLost, TrainingFailed
from raymu.training.batches import BatchPlan
from raymu.training.checkpoint_format import deserialize
from raymu.training.determinism import deterministic
from raymu.training.ranks import SimulatedRanks
from raymu.training.stages import StageResult, StageTask, train_stages
from raymu.training.steps import parted_batches, whole_batches
from raymu.training.trainer import ShardTrainer
from tests.unit.training.examples import SLICES, make_plan, make_samples, make_table
from tests.unit.training.rank_group import Gang, gang

CPU = torch.device("cpu")
Settings = dict[str, dict[str, Any]]

RESTLESS: Settings = {
    "model": {"name": "mlp", "hidden": [6], "batch_norm": True, "dropout": 0.4},
    "training": {"optimizer": "adam", "learning_rate": 0.01},
}
"""All that ranks have to themselves, and all that a checkpoint must hold."""


def stages_for(workers: int, settings: Settings, *, samples: int = 50, first: int = 0) -> StageTask:
    plan = make_plan(**settings, cluster={"workers_per_shard": workers})
    return StageTask(
        plan=plan,
        shard=0,
        samples=make_samples(make_table(samples)),
        first=first,
        checkpoint=None,
        reading="gradient" if plan.groups_per_slice is None else "group",
        device="cpu",
        threads=1,
    )


def tensors_of(stage: StageResult) -> dict[str, torch.Tensor]:
    return deserialize(stage.checkpoint, source="a checkpoint")


@st.composite
def batch_plans(draw: st.DrawFn) -> BatchPlan:
    sizes = draw(st.lists(st.integers(1, 40), max_size=5))
    return BatchPlan(positions=np.arange(sum(sizes)), sizes=tuple(sizes), keys=tuple(range(len(sizes))))


@given(batches=batch_plans(), ranks=st.integers(1, 64), least=st.integers(1, 3))
def test_every_sample_of_a_batch_is_some_ranks_in_the_batchs_order(batches: BatchPlan, ranks: int, least: int) -> None:
    parts = [batches.part(rank, ranks, least=least) for rank in range(ranks)]
    cuts = [np.split(part.positions, np.cumsum(part.sizes)[:-1]) for part in parts if part.sizes]
    again = [np.concatenate(of_batch) for of_batch in zip(*cuts, strict=True)]
    assert np.concatenate([batches.positions[:0], *again]).tolist() == batches.positions.tolist()
    assert {part.keys for part in parts} == {batches.keys}
    for size, *of_ranks in zip(batches.sizes, *(part.sizes for part in parts), strict=True):
        given_any = [samples for samples in of_ranks if samples]
        assert max(given_any) - min(given_any) <= 1
        assert min(given_any) >= min(least, size)
        assert sum(of_ranks) == size


@pytest.mark.parametrize(
    "settings", [{}, RESTLESS, {"training": {"momentum": 0.9}}], ids=["sgd", "restless", "momentum"]
)
def test_one_rank_takes_the_steps_of_whole_batches_bit_for_bit(settings: Settings) -> None:
    """The two ways to an epoch's gradients, on the same model."""
    ends = []
    for is_parted in (False, True):
        with deterministic(CPU, 1):
            training, samples = ShardTrainer(make_plan(**settings), 0, CPU), make_samples()
            training.fit_normalizer(samples)
            model = training.classifier.model.train()
            inputs, labels = training.classifier.inputs(samples.features), torch.from_numpy(samples.labels)
            for epoch in range(3):
                batches = training.batches(samples, seed=epoch)
                if is_parted:
                    steps = parted_batches(model, inputs, labels, batches, seed=epoch, ranks=SimulatedRanks(1), least=1)
                else:
                    steps = whole_batches(model, inputs, labels, batches, seed=epoch)
                for _ in steps:
                    training.optimizer.step()
            ends.append(training.dump(stage=0, determinism="one class"))
    assert ends[0] == ends[1]


def test_parts_sum_to_the_gradient_of_the_whole_batch() -> None:
    with deterministic(CPU, 1):
        training, samples = ShardTrainer(make_plan(), 0, CPU), make_samples()
        training.fit_normalizer(samples)
        model = training.classifier.model
        inputs, labels = training.classifier.inputs(samples.features), torch.from_numpy(samples.labels)
        batches = training.batches(samples, seed=1)
        whole = []
        for _ in whole_batches(model, inputs, labels, batches, seed=1):
            whole.append([parameter.grad for parameter in model.parameters()])
        for ranks in (2, 3, 7, 64):
            steps = parted_batches(model, inputs, labels, batches, seed=1, ranks=SimulatedRanks(ranks), least=1)
            for gradients, _ in zip(whole, steps, strict=True):
                for gradient, parameter in zip(gradients, model.parameters(), strict=True):
                    torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_the_number_of_ranks_is_seen_in_the_bits_and_told_in_the_class() -> None:
    [one, two] = [list(train_stages(stages_for(workers, {})))[-1] for workers in (1, 2)]
    assert one.weights_sha256 != two.weights_sha256
    assert '"workers": 2' in two.determinism
    assert "workers" not in one.determinism  # as it was written before there were several


class Counting(torch.nn.Linear):
    """Draws its own noise, and scales it by how often it was called: a rank is called for its own parts alone."""

    calls: torch.Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return super().forward(inputs) + self.calls * torch.rand(len(inputs), 1) * 1e-3


CASES: Mapping[str, tuple[int, Settings, int]] = {
    "two ranks, batch norm, dropout, Adam": (2, RESTLESS, 50),
    "three ranks, groups, uneven parts": (
        3,
        {"unlearning": {"contributions": "group", "groups_per_slice": 4}, "training": {"weight_decay": 0.01}},
        47,
    ),
    "three ranks, batches of two": (3, {"training": {"batch_size": 2, "momentum": 0.9}}, 19),
    "buffers of its own": (
        2,
        {"model": {"factory": f"{__name__}:Counting", "args": {"in_features": 4, "out_features": 3}}},
        50,
    ),
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    with gang(3, tmp_path_factory.mktemp("gang")) as found:
        yield found


@pytest.mark.parametrize(("workers", "settings", "samples"), CASES.values(), ids=CASES)
def test_ranks_that_are_processes_have_the_bits_of_ranks_that_are_played(
    workers: int, settings: Settings, samples: int, processes: Gang
) -> None:
    stages = stages_for(workers, settings, samples=samples)
    played = list(train_stages(stages))
    assert [stage.stage for stage in played] == list(range(SLICES))
    first, *others = processes.train(stages)
    assert isinstance(first, list)
    for ours, theirs in zip(played, first, strict=True):
        assert (ours.checkpoint, ours.updates) == (theirs.checkpoint, theirs.updates)
        assert ours.determinism == theirs.determinism
    for other in others:  # the same weights, and no updates; buffers are a rank's own until the next epoch
        assert isinstance(other, list)
        mine, its = tensors_of(played[-1]), tensors_of(other[-1])
        assert all(torch.equal(mine[name], its[name]) for name in mine if name.endswith((".weight", ".bias")))
        assert other[-1].updates is None


def test_a_stage_goes_on_from_its_checkpoint_by_processes_too(processes: Gang) -> None:
    stages = stages_for(2, RESTLESS)
    before, *rest = list(train_stages(stages))
    found, _ = processes.train(stages.after(before))
    assert isinstance(found, list)
    assert [one.checkpoint for one in found] == [one.checkpoint for one in rest]


def test_a_rank_that_is_lost_is_told_from_a_model_that_fails(processes: Gang) -> None:
    """The last to use the processes: one of them is gone afterwards."""
    failing = stages_for(3, {"training": {"learning_rate": 1e25}})
    assert [type(one) for one in processes.train(failing)] == [TrainingFailed] * 3
    assert [type(one) for one in processes.train(stages_for(3, {}), lost=2)] == [RankLost] * 2
