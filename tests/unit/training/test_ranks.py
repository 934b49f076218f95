import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raymu.training.batches import BatchPlan
from raymu.training.determinism import deterministic
from raymu.training.ranks import SimulatedRanks
from raymu.training.stages import train_stages
from raymu.training.steps import parted_batches, whole_batches
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import STATEFUL, Settings, make_plan, make_samples, stages_for

CPU = torch.device("cpu")


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
    "settings", [{}, STATEFUL, {"training": {"momentum": 0.9}}], ids=["sgd", "restless", "momentum"]
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
