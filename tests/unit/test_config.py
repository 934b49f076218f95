import pickle
from pathlib import Path
from typing import Any

import pytest

from raymu.config import Config
from raymu.errors import ConfigInvalid

LEAST: dict[str, Any] = {"data": {"train": "a.parquet"}, "model": {"name": "mlp"}}


def refusal(**branches: dict[str, Any]) -> str:
    tree = {**LEAST, **{branch: {**LEAST.get(branch, {}), **settings} for branch, settings in branches.items()}}
    with pytest.raises(ConfigInvalid) as refused:
        Config.parse(tree)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_configuration_comes_back_from_its_tree_and_from_another_process() -> None:
    config = Config.parse(
        {**LEAST, "data": {"train": "a", "normalize": {"mean": 0.1, "std": 0.2}, "features": ["x", "y"]}}
    )
    assert Config.parse(config.tree()) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_settings_beside_a_models_name_are_its_arguments() -> None:
    config = Config.parse({**LEAST, "model": {"name": "mlp", "hidden": [8]}})
    assert config.model.args == {"hidden": [8]}


def test_files_are_read_with_overrides_and_data_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.parquet}\nmodel: {name: mlp}\n")
    config = Config.load(path, ["training.epochs=3", "model.hidden=[4]", "data.test=s3://bucket/b.parquet"])
    assert config.training.epochs == 3
    assert config.model.args == {"hidden": [4]}
    assert config.data.train == str(tmp_path / "a.parquet")
    assert config.data.test == "s3://bucket/b.parquet"


@pytest.mark.parametrize("override", ["epochs", "epochs=3", "training=3"])
def test_an_override_needs_a_dotted_name_and_a_value(tmp_path: Path, override: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.parquet}\nmodel: {name: mlp}\n")
    with pytest.raises(ConfigInvalid, match=r"training\.epochs=3"):
        Config.load(path, [override])


@pytest.mark.parametrize("text", ["", "[1, 2]", "data: {train: [", "\tx"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=r"run\.yaml"):
        Config.load(path)


def test_impossible_settings_are_named() -> None:
    assert "training.speed: no such setting" in refusal(training={"speed": 1})
    assert "training.epochs" in refusal(training={"epochs": 0})
    assert "training.learning_rate" in refusal(training={"learning_rate": float("nan")})
    assert "momentum is a setting of sgd" in refusal(training={"optimizer": "adam", "momentum": 0.9})
    assert "needs data.owner" in refusal(partition={"policy": "owner"})
    assert "needs data.risk" in refusal(partition={"policy": "risk"})
    assert "4 ascending bounds" in refusal(data={"risk": "r"}, partition={"policy": "risk", "risk_bands": [0.5]})
    assert "more than the 5 slices" in refusal(unlearning={"ohs": {"slices": 6}})
    assert "without momentum" in refusal(training={"momentum": 0.9}, unlearning={"contributions": "group"})
    assert "gpus_per_shard" in refusal(training={"device": "cuda"})
    assert "data: track_accuracy needs data.test" in refusal(data={"track_accuracy": True})
    assert "either a name or a factory" in refusal(model={"factory": "a:b"})


def test_a_missing_branch_is_named() -> None:
    with pytest.raises(ConfigInvalid, match="data: must be given"):
        Config.parse({"model": {"name": "mlp"}})
