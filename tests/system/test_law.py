"""The law of exactness: once settled, a run has the bits of one that was trained without the forget set."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from raymu.config import Config
from raymu.core.records import Exactness, SampleId
from raymu.data.tables import read_table
from raymu.errors import DataInvalid
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from tests.support.coordinated_run import homes, ids_at, write_images
from tests.support.examples import create_run, make_config, write_samples
from tests.support.trained_runs import TrainedRun, TrainedRunFactory, weights_without

Branches = dict[str, dict[str, Any]]

OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "learning_rate": 0.05},
    {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.5, "weight_decay": 0.01},
    {"optimizer": "adam", "learning_rate": 0.01},
    {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.05},
]
MODELS: list[dict[str, Any]] = [
    {"name": "mlp", "hidden": [8], "dropout": 0.3},
    {"name": "mlp", "hidden": [8], "batch_norm": True},
    {"name": "mlp", "hidden": [6, 4], "batch_norm": True, "dropout": 0.2},
    {"name": "cnn", "channels": [2], "hidden": 4, "dropout": 0.2, "image_shape": [1, 2, 3]},
    {"name": "resnet", "channels": [2], "image_shape": [1, 2, 3]},
]


@st.composite
def configurations(draw: st.DrawFn) -> Branches:
    slices = draw(st.integers(1, 4))
    training = {
        **draw(st.sampled_from(OPTIMIZERS)),
        "schedule": draw(st.sampled_from(["constant", "linear", "cosine"])),
        "stage_decay": draw(st.sampled_from([1.0, 0.7])),
        "epochs": draw(st.integers(3, 5)),
        "batch_size": draw(st.sampled_from([3, 7, 16, 64])),
    }
    readings = ["gradient", "batch"]
    if training["optimizer"] == "sgd" and "momentum" not in training:
        readings.append("group")
    contributions = draw(st.sampled_from(readings))
    return {
        "data": {"owner": "owner", "risk": "risk", "normalize": draw(st.sampled_from(["none", "shard"]))},
        "model": draw(st.sampled_from(MODELS)),
        "training": training,
        "partition": {
            "shards": draw(st.integers(1, 4)),
            "slices": slices,
            "policy": draw(st.sampled_from(["uniform", "owner", "risk"])),
            "seed": draw(st.integers(0, 1000)),
        },
        "unlearning": {
            "contributions": contributions,
            "groups_per_slice": draw(st.integers(1, 4)) if contributions == "group" else None,
            "calibration": draw(st.booleans()),
            "on_accept": draw(st.sampled_from(["rewind", "abstain", "keep"])),
            "ohs": {"remedy": draw(st.sampled_from(["fine_tune", "replay"])), "slices": draw(st.integers(1, slices))},
        },
        "cluster": {"workers_per_shard": draw(st.sampled_from([1, 1, 2, 5]))},
    }


@st.composite
def forget_sets(draw: st.DrawFn, config: Config) -> list[SampleId]:
    """Draw some samples of one slice, of several, of several shards; or a whole slice, shard, owner or class."""
    placed = homes(config)
    _, shard, slice_index = draw(st.sampled_from(placed))
    match draw(st.sampled_from(["some", "slice", "some of a slice", "shard", "some of a shard", "owner", "class"])):
        case "some":
            candidates = ids_at(config)
        case "slice" | "some of a slice" as what:
            candidates = ids_at(config, shard=shard, slice_index=slice_index)
            if what == "slice":
                return candidates
        case "shard":
            return ids_at(config, shard=shard)
        case "some of a shard":
            candidates = ids_at(config, shard=shard)
        case "owner":
            return ids_of_owner(config, f"owner-{draw(st.integers(0, 39))}")
        case _:
            return ids_of_class(config, draw(st.integers(0, 2)))
    return draw(st.lists(st.sampled_from(candidates), unique=True, min_size=1, max_size=12))


def ids_of_owner(config: Config, owner: str) -> list[SampleId]:
    table = read_table(config.data.train, config.data)
    assert table.owners is not None
    return [sample_id for sample_id, of in zip(table.ids.tolist(), table.owners, strict=True) if of == owner]


def ids_of_class(config: Config, label: int) -> list[SampleId]:
    table = read_table(config.data.train, config.data)
    return [sample_id for sample_id, of in zip(table.ids.tolist(), table.labels, strict=True) if of == label]


def without_rows(config: Config, ids: Sequence[SampleId], path: Path) -> Config:
    """Return the same settings for a file without these rows, whose other rows are in another order."""
    table = pq.read_table(config.data.train)
    kept = [row for row, sample_id in enumerate(table["id"].to_pylist()) if sample_id not in set(ids)]
    pq.write_table(table.take(pa.array(kept[1::2] + kept[::2], type=pa.int64())), path)
    return replace(config, data=replace(config.data, train=str(path)))


def require_law(run: TrainedRun, requests: Sequence[Sequence[SampleId]], strategy: str) -> None:
    """Check that retraining without the forget set and training on a file without it give the same weights."""
    for request in requests:
        receipt = run.revoke(request, strategy=strategy)
    if strategy == "sisa":
        assert receipt.exactness is Exactness.EXACT
    else:
        run.settle()
    ids = [sample_id for request in requests for sample_id in request]
    assert run.weights == weights_without(run.config, ids)
    other_file = run.location.with_name("without.parquet")
    try:
        never_held = weights_without(without_rows(run.config, ids, other_file), ())
    except DataInvalid:  # a shard with too few samples is refused at ingest, and only there
        return
    assert run.weights == never_held


@settings(suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    branches=configurations(),
    strategy=st.sampled_from(["sisa", "sisa", "dpus", "hs", "ohs", "ohs"]),
    text_ids=st.booleans(),
    data=st.data(),
)
def test_settled_runs_equal_runs_that_never_saw_the_forget_set(
    branches: Branches, strategy: str, text_ids: bool, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_samples(folder / "all.parquet", samples=150, text_ids=text_ids)
        config = make_config(folder / "all.parquet", **branches)
        requests: list[list[SampleId]] = []
        for _ in range(data.draw(st.integers(1, 2), label="requests")):
            named = {sample_id for request in requests for sample_id in request}
            forget = data.draw(forget_sets(config), label="forget set")
            requests.append([sample_id for sample_id in forget if sample_id not in named])
        assume(all(requests))
        create_run(config, folder / "run")
        require_law(TrainedRun(config, folder / "run"), requests, strategy)


CASES: dict[str, Callable[[Config], list[SampleId]]] = {
    "a whole slice": lambda config: ids_at(config, shard=0, slice_index=1),
    "the whole first slice": lambda config: ids_at(config, shard=1, slice_index=0),
    "some of the last slice": lambda config: ids_at(config, slice_index=2)[:5],
    "several slices of a shard": lambda config: ids_at(config, shard=0)[::6],
    "several shards": lambda config: ids_at(config)[::17],
    "a whole owner": lambda config: ids_of_owner(config, "owner-3"),
    "a whole class": lambda config: ids_of_class(config, 2),
    "a whole shard": lambda config: ids_at(config, shard=0),
}


@pytest.mark.parametrize("strategy", ["sisa", "ohs"])
@pytest.mark.parametrize("case", CASES)
def test_the_law_holds_for(trained_run: TrainedRunFactory, case: str, strategy: str) -> None:
    run = trained_run(
        samples={"samples": 160},
        data={"owner": "owner"},
        training={"momentum": 0.9, "schedule": "cosine"},
        unlearning={"boundary": 0.0},
    )
    require_law(run, [CASES[case](run.config)], strategy)


USER_CODE = "tests.unit.training.user_code"
RECIPES: dict[str, Branches] = {
    "nesterov": {"training": {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}, "learning_rate": 0.05}},
    "rmsprop": {"training": {"optimizer": {"name": "rmsprop", "alpha": 0.9}, "learning_rate": 0.01}},
    "clipping": {"training": {"max_grad_norm": 0.5, "momentum": 0.5}},
    "warm-up": {"training": {"schedule": {"name": "cosine", "per": "step", "warm_up": 0.25}, "optimizer": "adam"}},
    "label smoothing": {"training": {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}}},
    "a loss by its factory": {"training": {"loss": {"factory": f"{USER_CODE}:focal_loss", "args": {"gamma": 2.0}}}},
    "bf16 in parts": {"training": {"precision": "bf16", "accumulate": 3, "optimizer": "adam", "learning_rate": 0.01}},
    "adapters": {
        "model": {"name": "mlp", "hidden": [12, 12], "dropout": 0.2, "trainable": "adapters", "adapters": {"rank": 2}},
        "training": {"optimizer": "adam", "learning_rate": 0.02},
    },
    "a head on a frozen backbone": {
        "model": {"name": "mlp", "hidden": [12, 12], "batch_norm": True, "trainable": "head"},
        "training": {"optimizer": "adam", "learning_rate": 0.02},
    },
    "smoothed groups": {
        "training": {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}, "schedule": "linear"},
        "unlearning": {"contributions": "group", "groups_per_slice": 3},
    },
}


@pytest.mark.parametrize("strategy", ["sisa", "ohs"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_law_holds_for_every_part_of_training(trained_run: TrainedRunFactory, recipe: str, strategy: str) -> None:
    branches = RECIPES[recipe]
    unlearning = {"boundary": 0.0, **branches.get("unlearning", {})}
    run = trained_run(samples={"samples": 160}, **{**branches, "unlearning": unlearning})
    require_law(run, [run.ids(slice_index=2)[:5], run.ids(shard=0)[1:9:4]], strategy)
    checks = verify(run.store, no_progress, replay=[0, 1]).checks
    assert [(check.checked, check.findings) for check in checks if check.name == "replay"] == [(2, ())]


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_the_law_holds_for_images(tmp_path: Path, name: str) -> None:
    write_images(tmp_path / "all.parquet")
    config = make_config(
        tmp_path / "all.parquet",
        data={"classes": 2, "normalize": "unit"},
        model={"name": name, "channels": [2, 3]},
        training={"optimizer": "adam", "learning_rate": 0.01},
        unlearning={"boundary": 0.0, "ohs": {"remedy": "replay"}},
    )
    create_run(config, tmp_path / "run")
    require_law(TrainedRun(config, tmp_path / "run"), [ids_at(config)[::9], ids_at(config)[4::9]], "ohs")


def test_one_sample_more_or_less_is_seen_in_the_weights(trained_run: TrainedRunFactory) -> None:
    """This shows that the tests of the law can fail."""
    run = trained_run()
    ids = run.ids(shard=0)[:4]
    run.revoke(ids[:3], strategy="sisa")
    assert run.weights[0] != weights_without(run.config, ids)[0]
