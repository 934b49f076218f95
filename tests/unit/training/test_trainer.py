import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raymu.config import Normalization
from raymu.core.partition import identity_hashes
from raymu.errors import FileCorrupt, TrainingFailed
from raymu.training.batches import BatchPlan, ShardSamples, grouped_batches, shuffled_batches
from raymu.training.checkpoint_format import deserialize, weights_sha256
from raymu.training.classifier import Classifier
from raymu.training.normalizer import CLIP_AT, Normalizer
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import CLASSES, FEATURES, SLICES, make_plan, make_samples, make_table

pytestmark = pytest.mark.usefixtures("one_determinism_class")

CPU = torch.device("cpu")
Settings = dict[str, dict[str, Any]]

USER_CODE = "tests.unit.training.user_code"
KINDS: Mapping[str, Settings] = {
    "sgd": {},
    "momentum": {"training": {"momentum": 0.9, "weight_decay": 0.01}},
    "adam": {"training": {"optimizer": "adam", "learning_rate": 0.01, "schedule": "cosine"}},
    "adamw": {"training": {"optimizer": "adamw", "weight_decay": 0.1, "stage_decay": 0.5, "schedule": "linear"}},
    "dropout": {"model": {"name": "mlp", "hidden": [6, 5], "dropout": 0.5}},
    "batch norm": {"model": {"name": "mlp", "hidden": [6], "batch_norm": True}},
    "groups": {"unlearning": {"contributions": "group", "groups_per_slice": 3}},
    "batch norm by groups": {
        "model": {"name": "mlp", "hidden": [6], "batch_norm": True},
        "unlearning": {"contributions": "group", "groups_per_slice": 5},
    },
    "nesterov": {"training": {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}}},
    "rmsprop": {"training": {"optimizer": {"name": "rmsprop", "momentum": 0.5}, "learning_rate": 0.01}},
    "clipping": {"training": {"max_grad_norm": 0.5}},
    "warm-up by steps": {
        "training": {"optimizer": "adam", "schedule": {"name": "cosine", "per": "step", "warm_up": 0.3}}
    },
    "label smoothing": {"training": {"loss": {"name": "cross_entropy", "label_smoothing": 0.2}}},
    "class weights by two workers": {
        "training": {"loss": {"name": "cross_entropy", "class_weights": [0.2, 1.0, 3.0]}},
        "cluster": {"workers_per_shard": 2},
    },
    "a loss by its factory": {"training": {"loss": {"factory": f"{USER_CODE}:focal_loss", "args": {"gamma": 2.0}}}},
    "an optimizer by its factory": {
        "training": {"optimizer": {"factory": f"{USER_CODE}:two_rates", "args": {"share": 0.1}}}
    },
    "clipping for an optimizer of some parameters": {
        "training": {"optimizer": {"factory": f"{USER_CODE}:only_matrices"}, "max_grad_norm": 0.5}
    },
    "a schedule by its factory": {
        "training": {"schedule": {"factory": f"{USER_CODE}:halving", "args": {"times": 3}, "per": "step"}}
    },
    "groups with smoothed labels": {
        "training": {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}, "schedule": "linear"},
        "unlearning": {"contributions": "group", "groups_per_slice": 3},
    },
    "two workers": {"cluster": {"workers_per_shard": 2}, "training": {"momentum": 0.9}},
    "more workers than samples": {
        "cluster": {"workers_per_shard": 11},
        "model": {"name": "mlp", "hidden": [6], "dropout": 0.5},
        "training": {"optimizer": "adam", "learning_rate": 0.01},
    },
    "batch norm by three workers": {
        "cluster": {"workers_per_shard": 3},
        "model": {"name": "mlp", "hidden": [6], "batch_norm": True},
        "unlearning": {"contributions": "group", "groups_per_slice": 2},
    },
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def train(samples: ShardSamples, kind: Settings, *, stages: range = range(SLICES)) -> ShardTrainer:
    training = ShardTrainer(make_plan(**kind), 0, CPU)
    for stage in stages:
        training.train_stage(samples, stage)
    return training


def dump(training: ShardTrainer) -> bytes:
    payload, _ = training.dump(stage=SLICES - 1, determinism="one class")
    return payload


@every_kind
@pytest.mark.parametrize("after", range(SLICES))
def test_training_on_from_a_checkpoint_equals_training_on_in_memory(kind: Settings, after: int) -> None:
    samples = make_samples()
    in_memory = train(samples, kind, stages=range(after))
    restored = ShardTrainer(make_plan(**kind), 0, CPU)
    restored.load(dump(in_memory), source="a checkpoint")
    assert dump(restored) == dump(in_memory)
    for stage in range(after, SLICES):
        torch.rand(7)  # whatever else drew random numbers
        assert restored.train_stage(samples, stage) == in_memory.train_stage(samples, stage) > 0
        assert dump(restored) == dump(in_memory)


@every_kind
def test_every_stage_lowers_the_loss_of_what_it_trains_on(kind: Settings) -> None:
    samples = make_samples()
    training = train(samples, kind, stages=range(1))
    for stage in range(1, SLICES):
        current = samples.where(samples.slices <= stage)
        before = training.classifier.mean_loss(current.features, current.labels)
        training.train_stage(samples, stage)
        assert training.classifier.mean_loss(current.features, current.labels) < before


@every_kind
def test_the_order_of_the_rows_does_not_matter(kind: Settings) -> None:
    table = make_table()
    shuffled = table.take(np.random.default_rng(1).permutation(len(table.ids)))
    assert dump(train(make_samples(shuffled), kind)) == dump(train(make_samples(table), kind))


@every_kind
def test_retraining_without_a_late_sample_equals_never_having_had_it(kind: Settings) -> None:
    samples = make_samples()
    retained = samples.where(samples.hashes != samples.hashes[samples.slices == SLICES - 1][0])
    restored = ShardTrainer(make_plan(**kind), 0, CPU)
    restored.load(dump(train(samples, kind, stages=range(SLICES - 1))), source="a checkpoint")
    restored.train_stage(retained, SLICES - 1)
    assert dump(restored) == dump(train(retained, kind)) != dump(train(samples, kind))


def test_a_checkpoint_says_what_it_is_and_what_is_predicted_from(tmp_path: Path) -> None:
    training = train(make_samples(), KINDS["momentum"])
    payload, weights = training.dump(stage=2, determinism="one class")
    (tmp_path / "checkpoint").write_bytes(payload)
    with safetensors.safe_open(tmp_path / "checkpoint", framework="pt") as file:
        assert json.loads(file.metadata()["raymu"]) == {"shard": 0, "stage": 2, "determinism": "one class"}
    restored = Classifier.restore(payload, make_plan(), device=CPU, source="a checkpoint")
    assert weights_sha256(restored.tensors()) == weights
    assert any(name.startswith("optimizer.") for name in deserialize(payload, source="a checkpoint"))
    features = make_table().features
    np.testing.assert_array_equal(restored.probabilities(features), training.classifier.probabilities(features))
    with pytest.raises(FileCorrupt, match="a checkpoint"):
        training.load(payload[:-1], source="a checkpoint")


def test_initial_weights_differ_by_shard_and_seed() -> None:
    plans = [(make_plan(), 0), (make_plan(), 1), (make_plan(partition={"seed": 12}), 0)]
    _, weights = zip(
        *(ShardTrainer(plan, shard, CPU).dump(stage=0, determinism="") for plan, shard in plans), strict=True
    )
    assert len(set(weights)) == len(plans)
    assert dump(ShardTrainer(make_plan(), 1, CPU)) == dump(ShardTrainer(make_plan(), 1, CPU))


def test_without_its_moments_an_optimizer_starts_anew() -> None:
    training = train(make_samples(), KINDS["adam"])
    training.reset_optimizer()
    assert not any(name.startswith("optimizer.") for name in deserialize(dump(training), source="a checkpoint"))


@pytest.mark.parametrize("first", range(SLICES))
def test_the_encoder_is_fitted_on_the_first_slice_with_samples_only(first: int) -> None:
    samples = make_samples()
    samples = samples.where(samples.slices >= first)
    training = ShardTrainer(make_plan(), 0, CPU)
    for stage in range(first):
        assert training.train_stage(samples, stage) == 0
        assert training.classifier.encoder is None
    for stage in range(first, SLICES):
        training.train_stage(samples, stage)
    assert training.classifier.encoder is not None
    fitted = training.classifier.encoder.fitted
    fit_to = samples.array[samples.slices == first]
    np.testing.assert_allclose(fitted["mean"], fit_to.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(fitted["scale"], 1.0 / fit_to.std(axis=0), rtol=1e-5)


def test_what_varies_little_in_the_first_slice_is_clipped_and_what_is_constant_is_kept() -> None:
    features = np.array([[1.0, 5.0, 0.0], [1.0, 5.0, 2.0]], dtype=np.float32)
    normalizer = Normalizer.fit(features, "shard")
    applied = normalizer.apply(np.array([[1.5, -90.0, 1e6]], dtype=np.float32), CPU)
    assert applied.tolist() == [[0.5, -CLIP_AT, CLIP_AT]]


@pytest.mark.parametrize(
    ("kind", "largest"), [("uint8", 255), ("uint16", 65535), ("int16", 1), ("int64", 1), ("float32", 1)]
)
def test_a_fixed_mean_is_of_pixels_in_the_unit_range_or_of_other_numbers_as_they_are(kind: str, largest: int) -> None:
    features = np.array([[0, largest]], dtype=kind)
    fixed = Normalizer.fit(features, Normalization(mean=0.5, std=0.25))
    np.testing.assert_allclose(fixed.apply(features, CPU), [[-2.0, 2.0]], rtol=1e-6)


@pytest.mark.parametrize(("kind", "largest"), [("uint8", 255), ("uint16", 65535)])
def test_pixels_fill_the_unit_range(kind: str, largest: int) -> None:
    features = np.array([[0, largest]], dtype=kind)
    np.testing.assert_allclose(Normalizer.fit(features, "unit").apply(features, CPU), [[0.0, 1.0]], rtol=1e-6)


def test_a_shard_with_empty_slices_trains_on_the_others() -> None:
    samples = make_samples()
    middle = samples.where(samples.slices == 1)
    training = ShardTrainer(make_plan(), 0, CPU)
    epochs = make_plan().epochs
    passes = [training.train_stage(middle, stage) for stage in range(SLICES)]
    assert passes == [0, epochs[1] * len(middle), epochs[2] * len(middle)]


@pytest.mark.parametrize(("batch_norm", "trained"), [(False, [8, 8, 1]), (True, [8, 8])])
def test_a_batch_of_one_is_left_out_for_batch_norm_only(batch_norm: bool, trained: list[int]) -> None:
    plan = make_plan(model={"name": "mlp", "batch_norm": batch_norm})
    samples = make_samples(make_table(17))
    batches = ShardTrainer(plan, 0, CPU).batches(samples, seed=5)
    assert list(batches.sizes) == trained
    assert len(batches.positions) == sum(trained)
    whole = shuffled_batches(samples, batch_size=8, seed=5)
    np.testing.assert_array_equal(batches.positions, whole.positions[: sum(trained)])


def batches_by_key(samples: ShardSamples, batches: BatchPlan) -> dict[int, frozenset[int]]:
    cuts = np.split(samples.hashes[batches.positions], np.cumsum(batches.sizes)[:-1])
    return {key: frozenset(cut.tolist()) for key, cut in zip(batches.keys, cuts, strict=True)}


@st.composite
def shards(draw: st.DrawFn) -> ShardSamples:
    count = draw(st.integers(1, 40))
    ids = draw(st.lists(st.integers(0, 2**40), min_size=count, max_size=count, unique=True))
    slices = draw(arrays.arrays(np.int64, count, elements=st.integers(0, SLICES - 1)))
    hashes = identity_hashes(ids, seed=1, purpose="order")
    order = np.lexsort((hashes, slices))
    nothing = np.zeros((count, FEATURES), dtype=np.float32)
    return ShardSamples(hashes=hashes[order], slices=slices[order], features=nothing, labels=np.arange(count) % CLASSES)


@settings(max_examples=100)
@given(samples=shards(), groups=st.integers(1, 6), seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_a_groups_members_are_fixed_and_of_one_slice(
    samples: ShardSamples, groups: int, seeds: tuple[int, int]
) -> None:
    first, second = (
        batches_by_key(samples, grouped_batches(samples, groups_per_slice=groups, seed=seed)) for seed in seeds
    )
    assert first == second
    assert frozenset().union(*first.values()) == frozenset(samples.hashes.tolist())
    slice_of = dict(zip(samples.hashes.tolist(), samples.slices.tolist(), strict=True))
    assert all({slice_of[member] for member in members} == {key // groups} for key, members in first.items())


@settings(max_examples=100)
@given(samples=shards(), groups=st.integers(1, 6), seed=st.integers(0, 2**63 - 1), data=st.data())
def test_removing_a_sample_changes_no_other_samples_batch_or_order(
    samples: ShardSamples, groups: int, seed: int, data: st.DataObject
) -> None:
    leaving = data.draw(st.sampled_from(samples.hashes.tolist()))
    retained = samples.where(samples.hashes != leaving)
    before, after = (grouped_batches(some, groups_per_slice=groups, seed=seed) for some in (samples, retained))
    left = {key: members - {leaving} for key, members in batches_by_key(samples, before).items()}
    if len(retained):
        assert batches_by_key(retained, after) == {key: members for key, members in left.items() if members}
    assert list(after.keys) == [key for key in before.keys if left[key]]
    in_turn = [hashed for hashed in samples.hashes[before.positions].tolist() if hashed != leaving]
    assert retained.hashes[after.positions].tolist() == in_turn


@settings(max_examples=100)
@given(samples=shards(), batch_size=st.integers(1, 9), seed=st.integers(0, 2**63 - 1))
def test_an_epoch_has_every_sample_once_except_those_of_single_sample_batches(
    samples: ShardSamples, batch_size: int, seed: int
) -> None:
    batches = shuffled_batches(samples, batch_size=batch_size, seed=seed)
    assert sorted(batches.positions.tolist()) == list(range(len(samples)))
    assert max(batches.sizes) <= batch_size
    paired = batches.drop_singletons()
    assert 1 not in paired.sizes
    kept = {key: members for key, members in batches_by_key(samples, batches).items() if len(members) > 1}
    if kept:
        assert batches_by_key(samples, paired) == kept


@pytest.mark.parametrize("kind", [{}, {"momentum": 0.9}], ids=["sgd", "momentum"])
def test_weights_that_are_not_finite_make_no_checkpoint(kind: dict[str, Any]) -> None:
    training = train(make_samples(), {"training": {"learning_rate": 1e25, **kind}}, stages=range(1))
    with pytest.raises(
        TrainingFailed, match="shard 0 could not be trained: in stage 2 its weights became infinite or NaN"
    ):
        dump(training)


class Tired(torch.nn.Linear):
    """A model that raises an error after some calls."""

    calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls > 9:
            raise MemoryError("no room\nleft")
        return super().forward(inputs)


def test_an_error_of_a_model_names_its_shard_and_stage() -> None:
    model = {"factory": f"{__name__}:Tired", "args": {"in_features": FEATURES, "out_features": CLASSES}}
    with pytest.raises(TrainingFailed, match="shard 0 could not be trained: in stage 1 MemoryError: no room left"):
        train(make_samples(), {"model": model})
