from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from raymu.config.unlearning import Contributions
from raymu.errors import FileCorrupt, PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.checkpoint_format import weights_sha256
from raymu.training.contributions import CONTRIBUTIONS
from raymu.training.recorded_updates import UpdateLog
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import SLICES, contributions_of, make_plan, make_samples

pytestmark = pytest.mark.usefixtures("one_determinism_class")

CPU = torch.device("cpu")
GROUPS = 4
KINDS: Mapping[str, dict[str, Any]] = {
    "group": {"unlearning": {"contributions": "group", "groups_per_slice": GROUPS}},
    "batch": {"unlearning": {"contributions": "batch"}},
}
every_recorder = pytest.mark.parametrize("kind", KINDS)
HALF = 2.0**-11
"""Largest relative rounding of float16."""


def weights(training: ShardTrainer) -> Tensor:
    return parameters_to_vector(training.classifier.model.parameters()).detach().clone()


def record(kind: str, samples: ShardSamples, stage: int = 1, **changes: Any) -> tuple[ShardTrainer, UpdateLog, Tensor]:
    """Train one recorded stage. Return the training, its log, and the change of the weights, shape (parameters,)."""
    training = ShardTrainer(make_plan(**(KINDS[kind] | changes)), 0, CPU)
    training.train_stage(samples, stage - 1)
    make_recorder = CONTRIBUTIONS[Contributions(kind)].recorder
    assert make_recorder is not None
    recorder = make_recorder(training.classifier.model, GROUPS * (stage + 1))
    before = weights(training)
    training.train_stage(samples, stage, recorder)
    return training, recorder.log(), weights(training) - before


@every_recorder
def test_recorded_updates_add_up_to_the_change_of_the_weights(kind: str) -> None:
    _, log, change = record(kind, make_samples())
    rounding = HALF * log.updates.double().abs().sum(dim=0) + 1e-6
    assert change.abs().max() > 0.01
    assert torch.all((log.updates.double().sum(dim=0) - change).abs() <= rounding)


@every_recorder
def test_a_log_has_a_row_for_each_fixed_batch_or_step(kind: str) -> None:
    samples = make_samples()
    _, log, change = record(kind, samples)
    current = samples.where(samples.slices <= 1)
    epochs = make_plan().epochs[1]
    steps = epochs * -(-len(current) // 8)
    assert log.updates.shape == ((GROUPS * 2 if kind == "group" else steps), len(change))
    assert log.updates.dtype == torch.float16
    times = 1 if kind == "group" else epochs
    assert sorted(log.members.numpy().view(np.uint64)) == sorted(times * current.hashes.tolist())
    assert int(log.sizes.sum()) == len(log.members)
    assert not log.consumed.any()


@every_recorder
def test_recording_changes_no_bit_of_the_training(kind: str) -> None:
    samples = make_samples()
    recorded, _, _ = record(kind, samples)
    plain = ShardTrainer(make_plan(**KINDS[kind]), 0, CPU)
    for stage in (0, 1):
        plain.train_stage(samples, stage)
    assert weights_sha256(plain.classifier.tensors()) == weights_sha256(recorded.classifier.tensors())


@every_recorder
def test_a_log_is_read_back_as_it_was(kind: str) -> None:
    _, log, _ = record(kind, make_samples())
    payload = log.dump()
    loaded = UpdateLog.load(payload, source="updates")
    assert loaded.dump() == payload
    assert torch.equal(loaded.updates, log.updates)
    with pytest.raises(FileCorrupt, match="updates"):
        UpdateLog.load(payload[:-1], source="updates")


@every_recorder
def test_batch_norm_leaves_batches_of_one_out_of_the_log_too(kind: str) -> None:
    samples = make_samples().where(np.arange(50) < 41)
    _, log, change = record(kind, samples, model={"name": "mlp", "hidden": [5], "batch_norm": True})
    assert 1 not in log.sizes.tolist()
    rounding = HALF * log.updates.double().abs().sum(dim=0) + 1e-6
    assert torch.all((log.updates.double().sum(dim=0) - change).abs() <= rounding)


@every_recorder
def test_forgotten_samples_are_counted_by_the_rows_that_hold_them(kind: str) -> None:
    samples = make_samples()
    _, log, _ = record(kind, samples)
    forget = samples.where(np.arange(len(samples)) % 5 == 0)
    rows = log.members.numpy().view(np.uint64), np.repeat(np.arange(len(log.sizes)), log.sizes.numpy())
    by_hand = [int(np.isin(rows[0][rows[1] == row], forget.hashes).sum()) for row in range(len(log.sizes))]
    assert log.forgotten_by_row(forget).tolist() == by_hand
    nobody = samples.where(np.zeros(len(samples), dtype=bool))
    assert log.forgotten_by_row(nobody).tolist() == [0] * len(log.sizes)


def log_of(updates: Tensor) -> UpdateLog:
    rows = len(updates)
    return UpdateLog(
        updates=updates.clone(),
        members=torch.arange(rows),
        sizes=torch.ones(rows, dtype=torch.int64),
        consumed=torch.zeros(rows, dtype=torch.bool),
    )


@given(shares=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_taken_rows_are_summed_once_then_zero_and_spent(shares: list[float], seed: int) -> None:
    updates = torch.randn(len(shares), 3, generator=torch.Generator().manual_seed(seed)).half()
    log = log_of(updates)
    share = torch.tensor(shares)
    torch.testing.assert_close(log.subtract_rows(share), share @ updates.float())
    assert log.consumed.tolist() == [part > 0 for part in shares]
    assert torch.equal(log.updates, torch.where(share[:, None] > 0, 0.0, updates).half())
    assert log.subtract_rows(share).tolist() == [0.0] * 3


@every_recorder
def test_a_sample_is_subtracted_once_and_then_refused(kind: str) -> None:
    samples = make_samples()
    training, log, _ = record(kind, samples)
    forget = samples.where(samples.hashes == samples.hashes[0])
    counts, sizes, updates = log.forgotten_by_row(forget), log.sizes, log.updates.clone().float()
    shares = counts / sizes.clamp(min=1) if kind == "group" else (counts > 0).float()
    contributions = contributions_of(Contributions(kind), training.classifier, forget, {1: log}, 0.1)
    torch.testing.assert_close(contributions, shares @ updates, atol=1e-5, rtol=1e-5)
    assert log.consumed.tolist() == (counts > 0).tolist()
    with pytest.raises(PatchFailed, match="no recorded update is left to subtract for 1 forgotten sample"):
        contributions_of(Contributions(kind), training.classifier, forget, {1: log}, 0.1)


def test_one_sample_without_an_update_that_is_left_fails_the_patch_of_all() -> None:
    samples = make_samples()
    training, log, _ = record("group", samples)
    contributions = partial(contributions_of, Contributions.GROUP)
    in_row = [
        samples.isin(row.numpy().view(np.uint64)) for row in log.members.split(log.sizes.tolist()) if len(row) > 1
    ]
    first, mate = (samples.where(samples.hashes == hashed) for hashed in samples.hashes[in_row[0]][:2])
    contributions(training.classifier, first, {1: log}, 0.1)
    left = log.dump()
    together = ShardSamples.joined([mate, samples.where(in_row[1])])
    with pytest.raises(PatchFailed, match="is left to subtract for 1 forgotten sample"):
        contributions(training.classifier, together, {1: log}, 0.1)
    assert log.dump() == left


@every_recorder
def test_a_log_does_not_name_a_subtracted_sample(kind: str) -> None:
    samples = make_samples()
    training, log, _ = record(kind, samples)
    before = UpdateLog.load(log.dump(), source="a copy")
    forget, later = (samples.where(samples.hashes == samples.hashes[row]) for row in (0, 1))
    contributions_of(Contributions(kind), training.classifier, forget, {1: log}, 0.1)
    assert forget.hashes.tobytes() in before.dump()
    assert forget.hashes.tobytes() not in log.dump()
    assert not log.forgotten_by_row(forget).any()
    assert torch.equal(log.forgotten_by_row(later), before.forgotten_by_row(later))
    assert torch.equal(log.sizes, before.sizes)


def test_what_is_left_of_a_log_is_shared_as_before() -> None:
    samples = make_samples()
    training, log, _ = record("group", samples)
    copy = UpdateLog.load(log.dump(), source="a copy")
    forget, later = (samples.where(samples.hashes.view(np.int64) == log.members[entry].item()) for entry in (0, -1))
    contributions = partial(contributions_of, Contributions.GROUP)
    contributions(training.classifier, forget, {1: log}, 0.1)
    after = contributions(training.classifier, later, {1: log}, 0.1)
    torch.testing.assert_close(after, contributions(training.classifier, later, {1: copy}, 0.1))


@every_recorder
def test_all_samples_together_have_contributed_all_that_was_trained(kind: str) -> None:
    samples = make_samples()
    training, log, change = record(kind, samples)
    trained = samples.where(samples.slices <= 1)
    contributions = contributions_of(Contributions(kind), training.classifier, trained, {1: log}, 0.1)
    torch.testing.assert_close(contributions, change, atol=5e-3, rtol=0.0)


@pytest.mark.parametrize("kind", ["group", "batch"])
def test_logs_of_several_stages_are_subtracted_together(kind: str) -> None:
    samples = make_samples()
    training, first, _ = record(kind, samples)
    _, second, _ = record(kind, samples, stage=SLICES - 1)
    forget = samples.where(samples.slices == SLICES - 1)
    alone = UpdateLog.load(second.dump(), source="a copy")
    contributions = partial(contributions_of, Contributions(kind))
    both = contributions(training.classifier, forget, {1: first, 2: second}, 0.1)
    torch.testing.assert_close(both, contributions(training.classifier, forget, {2: alone}, 0.1))
    assert not first.consumed.any()


@pytest.mark.parametrize(
    "model",
    [
        {"name": "logistic"},
        {"name": "mlp", "hidden": [5], "dropout": 0.5},
        {"name": "mlp", "hidden": [5], "batch_norm": True},
    ],
    ids=["logistic", "dropout", "batch norm"],
)
@pytest.mark.parametrize("count", [1, 7])
def test_the_gradient_reading_is_one_step_of_descent_at_the_present_weights(model: dict[str, Any], count: int) -> None:
    samples = make_samples()
    training = ShardTrainer(make_plan(model=model), 0, CPU)
    training.train_stage(samples, 0)
    before = weights_sha256(training.classifier.tensors())
    forget = samples.where(np.arange(len(samples)) < count)
    contributions = contributions_of(Contributions.GRADIENT, training.classifier, forget, {}, 0.25)
    network = training.classifier.model.eval()
    loss = F.cross_entropy(network(training.classifier.prepare(forget.features).all()), torch.from_numpy(forget.labels))
    by_hand = torch.autograd.grad(loss, list(network.parameters()))
    torch.testing.assert_close(contributions, -0.25 * parameters_to_vector(by_hand))
    assert weights_sha256(training.classifier.tensors()) == before


@pytest.mark.parametrize("contributions", list(Contributions))
def test_training_records_those_contributions_that_say_so(contributions: Contributions) -> None:
    assert (CONTRIBUTIONS[contributions].recorder is not None) is contributions.is_recorded


def test_gradients_of_recurrent_layers_do_without_cudnn_which_has_none_in_evaluation_mode() -> None:
    class Watched(torch.nn.LSTM):
        def forward(self, *args: Any) -> Any:
            seen.append(torch.backends.cudnn.enabled)
            return super().forward(*args)

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Watched(4, 3, batch_first=True)

        def forward(self, inputs: Tensor) -> Tensor:
            states, _ = self.cell(inputs[:, None])
            logits: Tensor = states[:, -1]
            return logits

    seen: list[bool] = []
    samples = make_samples()
    classifier = ShardTrainer(make_plan(), 0, CPU).classifier
    classifier.model = Recurrent()
    classifier.fit(samples.features, samples.labels)
    assert contributions_of(Contributions.GRADIENT, classifier, samples, {}, 0.1).any()
    assert seen == [False]
