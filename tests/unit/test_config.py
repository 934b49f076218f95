import pickle
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from raymu.config import Config
from raymu.config.training import ModelName
from raymu.config.unlearning import Boundary
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


@pytest.mark.parametrize("override", ["epochs", "epochs=3", "training=3", ".epochs=3", "training.=3", "=", "a..b=3"])
def test_an_override_needs_a_dotted_name_and_a_value(tmp_path: Path, override: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.parquet}\nmodel: {name: mlp}\n")
    with pytest.raises(ConfigInvalid, match=r"training\.epochs=3"):
        Config.load(path, [override])


@pytest.mark.parametrize("value", ["[1", "{", "@", "&a *b", "2020-13-45", "'x", "[" * 2000])
def test_a_value_that_is_not_yaml_is_refused_with_its_setting(tmp_path: Path, value: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.parquet}\nmodel: {name: mlp}\n")
    with pytest.raises(ConfigInvalid, match=r"^training\.epochs: not YAML .*put text with special letters in quotes$"):
        Config.load(path, [f"training.epochs={value}"])


def test_a_setting_below_a_single_value_is_refused_and_below_nothing_is_set(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.parquet}\nmodel: {name: mlp}\ntraining:\n")
    assert Config.load(path, ["training.epochs=3"]).training.epochs == 3
    with pytest.raises(ConfigInvalid, match=r"data\.train\.x cannot be set: train is a single value"):
        Config.load(path, ["data.train.x=3"])


@pytest.mark.parametrize("text", ["model: {name: mlp}\nmodel: {name: cnn}", "data: {id: a, label: b, id: c}"])
def test_a_setting_that_is_given_twice_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=r"run\.yaml: not YAML \(line 1: (model|id) is given twice\)"):
        Config.load(path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "data: {train: [", "\tx", "data: 2020-13-45"])
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str) -> None:
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
    assert "more than the 5 slices of a shard" in refusal(unlearning={"ohs": {"slices": 6}})
    assert "without momentum" in refusal(training={"momentum": 0.9}, unlearning={"contributions": "group"})
    assert "unlearning.curvature.damping: must be greater than 0" in refusal(unlearning={"curvature": {"damping": 0}})
    assert "unlearning.curvature.samples" in refusal(unlearning={"curvature": {"samples": 0}})
    assert "unlearning.curvature.preconditioner: must be kfac or none" in refusal(
        unlearning={"curvature": {"preconditioner": "best"}}
    )
    assert "0 iterations need the preconditioner kfac" in refusal(
        unlearning={"curvature": {"iterations": 0, "preconditioner": "none"}}
    )
    assert "gpus_per_shard" in refusal(training={"device": "cuda"})
    assert "data: track_accuracy needs data.test" in refusal(data={"track_accuracy": True})
    assert "either a name or a factory" in refusal(model={"factory": "a:b"})
    assert "model.args: must be settings" in refusal(model={"args": 3})
    assert "model: hidden is given twice" in refusal(model={"hidden": [4], "args": {"hidden": [8]}})
    assert "model.args.day: must be a value that JSON has" in refusal(model={"day": date(2020, 1, 1)})
    assert "unlearning.strategy: must be sisa, dpus, hs or ohs" in refusal(unlearning={"strategy": "hope"})
    assert "partition.risk_bands: must be a list" in refusal(partition={"risk_bands": 3})
    assert "training.weight_decay" in refusal(training={"weight_decay": 1e300})
    assert "cluster.threads" in refusal(cluster={"threads": 10**6})
    assert "cluster.workers_per_shard" in refusal(cluster={"workers_per_shard": 65})
    assert "in steps of 0.0001" in refusal(cluster={"cpus_per_shard": 0.00001})
    assert "in steps of 0.0001" in refusal(cluster={"resources_per_shard": {"rack": 0.00001}})
    assert "cluster.resources_per_shard" in refusal(cluster={"resources_per_shard": {"rack": 0}})
    assert "GPU is set by gpus_per_shard" in refusal(cluster={"resources_per_shard": {"GPU": 1}})
    assert "set by accelerator" in refusal(cluster={"resources_per_shard": {"accelerator_type:T4": 1}})
    assert "needs gpus_per_shard" in refusal(cluster={"accelerator": "T4"})
    assert "cluster.placement" in refusal(cluster={"placement": "near"})
    assert "needs live_actors" in refusal(cluster={"autoscaling": True})
    growing = {"autoscaling": True, "live_actors": 8, "placement": "pack"}
    assert "leave one of them out" in refusal(cluster=growing)
    assert "a part of one GPU, or a whole number" in refusal(cluster={"gpus_per_shard": 1.5})


def test_a_factory_may_be_in_a_file_whose_name_is_not_an_identifier() -> None:
    config = Config.parse({"data": {"train": "a"}, "model": {"factory": "my-models:build"}})
    assert config.model.factory == "my-models:build"


DOOR: dict[str, tuple[dict[str, Any], str]] = {
    "a boundary of no kind": (
        {"unlearning": {"boundary": "soon"}},
        "unlearning.boundary: boundary 'soon' is not of the form 0.35, 30s or deadline:60s",
    ),
    "a boundary over the whole shard": (
        {"unlearning": {"boundary": 7}},
        "unlearning.boundary: boundary 7.0 is over 1; give a fraction of the shard, or seconds such as 30s",
    ),
    "fewer epochs than stages need": (
        {"partition": {"slices": 50}},
        "training.epochs: 12 epochs, too few for 50 slices: a stage would get none; use 26 or more",
    ),
    "an unknown model": (
        {"model": "nonesuch"},
        "model.name: must be logistic, mlp, cnn, resnet, timm, torchvision or transformers",
    ),
    "an unknown model by its name": (
        {"model": {"name": "mpl"}},
        "model.name: must be logistic, mlp, cnn, resnet, timm, torchvision or transformers; did you mean mlp?",
    ),
    "a factory that is not a path": (
        {"model": {"factory": "models.build"}},
        "model.factory: 'models.build' must read package.module:function",
    ),
    "a misspelt setting": ({"training": {"epoch": 3}}, "training.epoch: no such setting; did you mean epochs?"),
    "a misspelt branch": ({"trainig": {}}, "trainig: no such setting; did you mean training?"),
    "a misspelt setting of a setting": (
        {"unlearning": {"ohs": {"slice": 1}}},
        "unlearning.ohs.slice: no such setting; did you mean slices?",
    ),
    "a misspelt word": (
        {"unlearning": {"on_accept": "rewnd"}},
        "unlearning.on_accept: must be rewind, abstain or keep; did you mean rewind?",
    ),
    "text for a number": ({"training": {"epochs": "many"}}, "training.epochs: must be a whole number"),
    "a number for a branch": ({"training": 3}, "training: must be settings, such as {name: value}"),
    "no number": ({"training": {"learning_rate": "fast"}}, "training.learning_rate: must be a number"),
    "neither yes nor no": ({"unlearning": {"calibration": "maybe"}}, "unlearning.calibration: must be true or false"),
}


@pytest.mark.parametrize(("branches", "line"), DOOR.values(), ids=DOOR)
def test_settings_that_cannot_be_run_are_refused_when_they_are_read(branches: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        Config.parse({**LEAST, **branches})
    assert str(refused.value) == line


@pytest.mark.parametrize("boundary", [0.35, 1, "0.5", "30s", "0.1s", "deadline:60s", "deadline:1234.56789s"])
def test_a_boundary_is_written_as_it_is_read(boundary: float | str) -> None:
    config = Config.parse({**LEAST, "unlearning": {"boundary": boundary}})
    assert Config.parse(config.tree()) == config
    assert config.unlearning.boundary == Boundary.parse(boundary)
    written = config.tree()["unlearning"]["boundary"]
    assert written == (float(boundary) if config.unlearning.boundary.kind == "fraction" else boundary)


def test_a_whole_branch_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.parquet}\nmodel: {name: mlp, hidden: [4]}\n")
    assert Config.load(path, ["model={name: cnn, channels: [2]}"]).model.args == {"channels": [2]}
    assert Config.load(path, ["model=logistic"]).model.name is ModelName.LOGISTIC


@pytest.mark.parametrize(
    ("configured", "cluster", "device"),
    [
        ("auto", {"fleet": "ray"}, "cpu"),
        ("auto", {"fleet": "ray", "gpus_per_shard": 0.25}, "auto"),
        ("cuda", {"fleet": "ray", "gpus_per_shard": 0.25}, "cuda"),
        ("cpu", {"fleet": "ray", "gpus_per_shard": 1}, "cpu"),
        ("auto", {"fleet": "local"}, "auto"),
        ("cuda", {"fleet": "local"}, "cuda"),
    ],
)
def test_on_ray_a_gpu_is_for_shards_with_a_share_of_it(
    configured: str, cluster: dict[str, object], device: str
) -> None:
    assert Config.parse({**LEAST, "training": {"device": configured}, "cluster": cluster}).device == device


def test_columns_are_named_once_each() -> None:
    assert "data.features: must not be empty" in refusal(data={"features": []})
    assert "data.features: must be text or a list" in refusal(data={"features": None})
    assert "data.features.1: must be text" in refusal(data={"features": ["width", 3]})
    assert "data.train: must not be empty" in refusal(data={"train": ""})
    assert "column 'width' is named twice" in refusal(data={"features": ["width", "width"]})
    assert "column 'label' is named twice" in refusal(data={"features": ["label", "width"]})
    assert "column 'id' is named twice" in refusal(data={"features": "id"})


def test_of_a_setting_of_several_kinds_the_part_that_does_not_fit_is_named() -> None:
    assert refusal(data={"normalize": {"mean": 1}}) == "data.normalize.std: must be given"
    assert "data.normalize.mean" in refusal(data={"normalize": {"mean": 1e300, "std": 1}})
    assert "data.normalize.std" in refusal(data={"normalize": {"mean": 0, "std": 0}})
    assert "must be none, unit or shard or settings" in refusal(data={"normalize": "all"})


def test_many_complaints_are_cut_short() -> None:
    said = refusal(training={f"setting_{number}": number for number in range(50)})
    assert said.count("no such setting") == 3
    assert said.endswith("and 47 more")


def test_a_missing_branch_is_named() -> None:
    with pytest.raises(ConfigInvalid, match="data: must be given"):
        Config.parse({"model": {"name": "mlp"}})
