from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from raymu.training.batches import BatchPlan
from raymu.training.data_parallel_gradients import data_parallel_gradients
from raymu.training.determinism import deterministic
from raymu.training.encoder import PreparedSamples
from raymu.training.ranks import SimulatedRanks
from raymu.training.stages import train_stages
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import STATEFUL, Settings, make_plan, make_samples, stages_for

CPU = torch.device("cpu")


@st.composite
def batch_plans(draw: st.DrawFn) -> BatchPlan:
    sizes = draw(st.lists(st.integers(1, 40), max_size=5))
    return BatchPlan(positions=np.arange(sum(sizes)), sizes=tuple(sizes), keys=tuple(range(len(sizes))))


@given(batches=batch_plans(), ranks=st.integers(1, 64), least=st.integers(1, 3))
def test_every_sample_of_a_batch_is_some_ranks_in_the_batchs_order(batches: BatchPlan, ranks: int, least: int) -> None:
    parts = [batches.part(rank, ranks, min_samples=least) for rank in range(ranks)]
    cuts = [np.split(part.positions, np.cumsum(part.sizes)[:-1]) for part in parts if part.sizes]
    again = [np.concatenate(of_batch) for of_batch in zip(*cuts, strict=True)]
    assert np.concatenate([batches.positions[:0], *again]).tolist() == batches.positions.tolist()
    assert {part.keys for part in parts} == {batches.keys}
    for size, *of_ranks in zip(batches.sizes, *(part.sizes for part in parts), strict=True):
        given_any = [samples for samples in of_ranks if samples]
        assert max(given_any) - min(given_any) <= 1
        assert min(given_any) >= min(least, size)
        assert sum(of_ranks) == size


def by_ranks(
    training: ShardTrainer, inputs: PreparedSamples, labels: Tensor, batches: BatchPlan, *, seed: int, count: int
) -> Iterator[None]:
    classifier, ranks = training.classifier, SimulatedRanks(count)
    return data_parallel_gradients(
        classifier, inputs, labels, batches, draws=None, seed=seed, ranks=ranks, generators={}, min_samples=1
    )


@pytest.mark.parametrize(
    "settings", [{}, STATEFUL, {"training": {"momentum": 0.9}}], ids=["sgd", "stateful", "momentum"]
)
def test_one_rank_takes_the_steps_of_whole_batches_bit_for_bit(settings: Settings) -> None:
    """Both ways to compute an epoch's gradients are applied to the same model."""
    ends = []
    for is_parted in (False, True):
        with deterministic(CPU, 1):
            training, samples = ShardTrainer(make_plan(**settings), 0, CPU), make_samples()
            training.fit_encoder(samples)
            training.classifier.model.train()
            inputs, labels = training.classifier.prepare(samples.features), torch.from_numpy(samples.labels)
            for epoch in range(3):
                batches = training.batches(samples, seed=epoch)
                if is_parted:
                    for _ in by_ranks(training, inputs, labels, batches, seed=epoch, count=1):
                        training.optimizer.step()
                else:
                    rates = [training.optimizer.param_groups[0]["lr"]] * len(batches.sizes)
                    training.train_epoch(inputs, labels, batches, rates=rates, seed=epoch)
            ends.append(training.dump(stage=0, determinism="one class"))
    assert ends[0] == ends[1]


def test_parts_sum_to_the_gradient_of_the_whole_batch() -> None:
    with deterministic(CPU, 1):
        training, samples = ShardTrainer(make_plan(), 0, CPU), make_samples()
        training.fit_encoder(samples)
        model = training.classifier.model
        inputs, labels = training.classifier.prepare(samples.features), torch.from_numpy(samples.labels)
        batches = training.batches(samples, seed=1)
        whole = []
        for batch, targets in batches.split(inputs, labels):
            model.zero_grad(set_to_none=True)
            F.cross_entropy(model(batch), targets).backward()
            whole.append([parameter.grad for parameter in model.parameters()])
        for ranks in (2, 3, 7, 64):
            steps = by_ranks(training, inputs, labels, batches, seed=1, count=ranks)
            for gradients, _ in zip(whole, steps, strict=True):
                for gradient, parameter in zip(gradients, model.parameters(), strict=True):
                    torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_the_number_of_ranks_changes_the_bits_and_the_determinism_class() -> None:
    [single, double] = [list(train_stages(stages_for(workers, {})))[-1] for workers in (1, 2)]
    assert single.weights_sha256 != double.weights_sha256
    assert '"workers": 2' in double.determinism
    assert "workers" not in single.determinism  # as it was written before there were several
