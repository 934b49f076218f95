from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raymu.data.tables import SampleTable
from raymu.errors import ConfigInvalid
from raymu.training.backbone import BATCH, FEATURES
from raymu.training.batches import ShardSamples
from raymu.training.checkpoint_format import deserialize
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import CLASSES, SLICES, make_samples, make_training_config

CPU = torch.device("cpu")
IMAGE = (3, 16, 16)
RESNET = {"name": "timm", "architecture": "test_resnet", "trainable": "head"}
HERE = __name__


def images(count: int = 45) -> ShardSamples:
    random = np.random.default_rng(4)
    features = random.integers(0, 256, size=(count, *IMAGE)).astype(np.uint8)
    return make_samples(SampleTable(ids=np.arange(count), features=features, labels=random.integers(0, CLASSES, count)))


def plan(model: dict[str, Any] | None = None, **branches: Any) -> TrainingSpec:
    config = make_training_config(model=model or RESNET, data={"normalize": "unit"}, **branches)
    spec, _ = TrainingSpec.of(config, input_shape=IMAGE, classes=CLASSES).with_base()
    return spec


def fitted(spec: TrainingSpec, samples: ShardSamples) -> Classifier:
    torch.manual_seed(1)
    classifier = Classifier.build(spec, device=CPU)
    classifier.fit(samples.features, samples.labels)
    return classifier


def features_of(classifier: Classifier, samples: ShardSamples) -> Tensor:
    with deterministic(CPU, threads=1):
        batch = classifier.prepare(samples.features).all()
    assert isinstance(batch, dict)
    features = batch[FEATURES]
    assert isinstance(features, Tensor)
    return features


def test_the_bits_of_a_samples_features_do_not_depend_on_its_neighbours() -> None:
    samples = images()
    classifier = fitted(plan(), samples)
    every = features_of(classifier, samples)
    is_kept = np.arange(len(samples)) % 3 > 0
    assert torch.equal(features_of(classifier, samples.where(is_kept)), every[torch.from_numpy(is_kept)])
    is_eighth = np.arange(len(samples)) == 7
    assert torch.equal(features_of(classifier, samples.where(is_eighth)), every[7:8])


class Uneven(nn.Module):
    """A model whose features depend on the place in a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(int(np.prod(IMAGE)), 4), nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        places = torch.arange(len(images))[:, None] if not self.training else 0
        outputs: Tensor = self.fc(self.body(images.flatten(1)) + places * 1e-6)
        return outputs


class Doubled(Uneven):
    """A model that changes what its head gives."""

    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


class Scaled(Uneven):
    """A model whose features depend on the place in a batch, except those of zeros."""

    def forward(self, images: Tensor) -> Tensor:
        places = torch.arange(len(images))[:, None] if not self.training else 0
        outputs: Tensor = self.fc((images.flatten(1) @ self.body.weight.T) * (1 + places * 1e-6))
        return outputs


def build_uneven() -> nn.Module:
    return Uneven()


def build_scaled() -> nn.Module:
    return Scaled()


def build_doubled() -> nn.Module:
    return Doubled()


def test_samples_are_computed_one_by_one_where_places_in_a_batch_differ() -> None:
    samples = images()
    classifier = fitted(plan({"factory": f"{HERE}:build_uneven", "trainable": "head"}), samples)
    every = features_of(classifier, samples)
    assert torch.equal(features_of(classifier, samples.where(np.arange(len(samples)) == 40)), every[40:41])


def test_a_head_that_does_not_give_the_output_is_refused() -> None:
    samples = images()
    classifier = fitted(plan({"factory": f"{HERE}:build_doubled", "trainable": "head"}), samples)
    with pytest.raises(ConfigInvalid, match=r"model\.head: the model's output is not what these layers give"):
        features_of(classifier, samples)


def test_a_checkpoint_has_the_head_alone_and_predicts_as_the_whole_model() -> None:
    samples, spec = images(), plan(training={"momentum": 0.9})
    with deterministic(CPU, threads=1):
        trainer = ShardTrainer(spec, 0, CPU)
        for stage in range(SLICES):
            trainer.train_stage(samples, stage)
        payload, _ = trainer.dump(stage=SLICES - 1, determinism='"test"')
        restored = Classifier.restore(payload, spec, device=CPU, source="test")
        predicted = restored.probabilities(samples.features)
        backbone, restored.backbone = restored.backbone, None
        whole = restored.probabilities(samples.features)
    assert backbone is not None
    assert {name for name in deserialize(payload, source="test") if name.startswith("model.")} == {
        "model.fc.weight",
        "model.fc.bias",
    }
    assert np.allclose(predicted, whole, atol=1e-5)
    assert not np.allclose(predicted, 1 / CLASSES, atol=0.01)


def test_the_backbone_is_run_once_for_each_sample() -> None:
    samples, spec = images(), replace(plan(), epochs=(3, 3, 3))
    with deterministic(CPU, threads=1):
        trainer = ShardTrainer(spec, 0, CPU)
        body = trainer.classifier.model.get_submodule("layer1")
        calls: list[int] = []
        body.register_forward_hook(lambda _module, inputs, _output: calls.append(len(inputs[0])))
        for stage in range(SLICES):
            trainer.train_stage(samples, stage)
    of_samples, of_trial = 2, 4
    assert calls == [BATCH] * (of_samples + of_trial)


def test_samples_that_may_be_forgotten_do_not_decide_how_others_are_computed() -> None:
    samples = images()
    black = samples.array.copy()
    black[:BATCH] = 0  # zeros hide that places differ
    samples = replace(samples, features=black)
    classifier = fitted(plan({"factory": f"{HERE}:build_scaled", "trainable": "head"}), samples)
    every = features_of(classifier, samples)
    is_kept = np.arange(len(samples)) >= BATCH
    again = fitted(plan({"factory": f"{HERE}:build_scaled", "trainable": "head"}), samples)
    assert torch.equal(features_of(again, samples.where(is_kept)), every[torch.from_numpy(is_kept)])
