from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from raymu.config import Trainable
from raymu.errors import ConfigInvalid
from raymu.training.base_weights import has_base
from raymu.training.checkpoint_format import deserialize
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic
from raymu.training.model_trial import check_model
from raymu.training.models import build_model
from raymu.training.probe import probe_training
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import CLASSES, FEATURES, SLICES, make_samples, make_training_config

CPU = torch.device("cpu")
ADAPTERS = {
    "model": {
        "name": "mlp",
        "hidden": [32, 32],
        "batch_norm": True,
        "dropout": 0.2,
        "trainable": "adapters",
        "adapters": {"rank": 2},
    },
    "training": {"optimizer": "adam", "learning_rate": 0.05},
}
SAMPLES = make_samples()


def plan(**branches: Any) -> TrainingSpec:
    config = make_training_config(**branches)
    spec, _ = TrainingSpec.of(config, input_shape=(FEATURES,), classes=CLASSES).with_base()
    return spec


def trained(spec: TrainingSpec, stages: int = SLICES, *, shard: int = 0) -> tuple[ShardTrainer, bytes, str]:
    with deterministic(CPU, threads=1):
        trainer = ShardTrainer(spec, shard, CPU)
        for stage in range(stages):
            trainer.train_stage(SAMPLES, stage)
        payload, weights = trainer.dump(stage=stages - 1, determinism='"test"')
    return trainer, payload, weights


def test_adapters_and_the_head_alone_are_trained() -> None:
    spec = plan(**ADAPTERS)
    trainer, payload, _ = trained(spec)
    assert spec.base is not None
    model = trainer.classifier.model
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == {"9.weight", "9.bias"} | {name for name, _ in model.named_parameters() if "lora" in name}
    changed = {
        name
        for name, value in model.state_dict().items()
        if name in spec.base.tensors and not torch.equal(value, spec.base.tensors[name])
    }
    assert {"9.weight", "9.bias"} < changed
    assert not {name for name in changed if "base_layer" in name}
    stored = {name for name in deserialize(payload, source="test") if name.startswith("model.")}
    assert stored == {f"model.{name}" for name in names | changed}


def test_a_checkpoint_is_smaller_than_the_model_and_restores_it() -> None:
    spec = plan(**ADAPTERS)
    trainer, payload, _ = trained(spec)
    _, whole, _ = trained(
        plan(model=ADAPTERS["model"] | {"trainable": "all", "adapters": None}, training=ADAPTERS["training"])
    )
    assert len(payload) < len(whole) / 2
    restored = Classifier.restore(payload, spec, device=CPU, source="test")
    assert (restored.probabilities(SAMPLES.features) == trainer.classifier.probabilities(SAMPLES.features)).all()


def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped() -> None:
    spec = plan(**ADAPTERS)
    _, payload, _ = trained(spec, SLICES - 1)
    with deterministic(CPU, threads=1):
        restored = ShardTrainer(spec, 0, CPU)
        restored.load(payload, source="test")
        restored.train_stage(SAMPLES, SLICES - 1)
        _, weights = restored.dump(stage=SLICES - 1, determinism='"test"')
    assert weights == trained(spec)[2]
    assert probe_training(spec, SAMPLES) == ()


def test_shards_share_frozen_weights_and_have_adapters_of_their_own() -> None:
    spec = plan(**ADAPTERS)
    first, second = (trained(spec, 1, shard=shard)[0].classifier.model.state_dict() for shard in (0, 1))
    frozen = [name for name in first if "base_layer" in name]
    assert frozen
    assert all(first[name].data_ptr() == second[name].data_ptr() for name in frozen)
    assert any(not torch.equal(first[name], second[name]) for name in first if "lora_A" in name)


def test_the_base_of_a_seed_is_the_same_file() -> None:
    first, again = plan(**ADAPTERS).base, plan(**ADAPTERS).base
    other = plan(**ADAPTERS, partition={"seed": 12}).base
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.sha256 == again.sha256 != other.sha256


def test_weights_of_a_file_are_those_that_all_shards_begin_with(tmp_path: Path) -> None:
    file = tmp_path / "resnet.safetensors"
    settings = {"name": "timm", "architecture": "test_resnet", "weights": str(file)}
    config = make_training_config(model={"name": "timm", "architecture": "test_resnet"})
    torch.manual_seed(9)
    before = build_model(config.model, input_shape=(3, 16, 16), classes=7)  # as many as another data set has
    safetensors.torch.save_file(before.state_dict(), file)
    config = make_training_config(model=settings)
    assert has_base(config.model)
    spec, payload = TrainingSpec.of(config, input_shape=(3, 16, 16), classes=3).with_base()
    file.unlink()  # workers elsewhere do not have it
    assert payload is not None
    assert spec.model.args == {"architecture": "test_resnet"}
    model = spec.build_model()
    own, stored = model.state_dict(), before.state_dict()
    assert all(torch.equal(own[name], stored[name]) for name in own if not name.startswith("fc"))
    assert own["fc.weight"].shape[0] == 3
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_folder_of_transformers_is_read_once(tmp_path: Path) -> None:
    tiny = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 30,
    }
    config = make_training_config(model={"name": "transformers", "architecture": "bert", "settings": tiny})
    model: Any = build_model(config.model, input_shape=(5,), classes=4)
    model.save_pretrained(tmp_path)
    config = make_training_config(model={"name": "transformers", "path": str(tmp_path), "trainable": "adapters"})
    spec = TrainingSpec.of(config, input_shape=(5,), classes=3)
    spec = replace(spec, takes_integers=True, normalize="none")
    spec, _ = spec.with_base()
    (tmp_path / "config.json").unlink()
    assert spec.base is not None
    assert spec.base.model.trainable is Trainable.ADAPTERS
    check_model(spec)
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(spec.build_model().state_dict()[name], model.state_dict()[name])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such layer": (
        {"name": "mlp", "trainable": "adapters", "adapters": {"targets": ["query"]}},
        "model.adapters: cannot",
    ),
    "no such head": (
        {"name": "mlp", "trainable": "adapters", "head": "fc"},
        "model.head: the model has no layers 'fc'",
    ),
    "nothing before the head": (
        {"name": "logistic", "trainable": "adapters"},
        "model.adapters: the model has no linear",
    ),
}


@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
def test_adapters_that_cannot_be_inserted_are_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        plan(model=model)


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(nn.Linear(3, 4).state_dict(), file)
    settings = {"name": "timm", "architecture": "test_resnet", "weights": str(file)}
    config = make_training_config(model=settings)
    with pytest.raises(ConfigInvalid, match=r"model.weights: .* is of another model; it lacks"):
        TrainingSpec.of(config, input_shape=(3, 16, 16), classes=3).with_base()
