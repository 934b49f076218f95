"""The law of exactness: retraining from the earliest touched slice equals having trained without the forget set."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymu.config import Config
from raymu.core.records import SampleId
from raymu.learn.data import read_table
from raymu.service.ingest import place
from tests.examples import make_config, repaired_weights, revoke, settle, train_run, write_samples

Case = dict[str, Any]

TRAININGS: list[Case] = [
    {"optimizer": "sgd", "learning_rate": 0.05},
    {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "schedule": "cosine"},
    {"optimizer": "adam", "learning_rate": 0.01, "schedule": "linear", "stage_decay": 0.7},
    {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.01},
]
MODELS: list[Case] = [
    {"name": "logistic"},
    {"name": "mlp", "hidden": [8], "dropout": 0.3},
    {"name": "mlp", "hidden": [8], "batch_norm": True},
    {"name": "mlp", "hidden": [8, 4], "batch_norm": True, "dropout": 0.2},
    {"name": "resnet", "channels": [2], "image_shape": [1, 2, 3]},
]


def require_law(
    folder: Path,
    branches: dict[str, Case],
    requests: Sequence[Sequence[SampleId]],
    *,
    strategy: str = "sisa",
    text_ids: bool = False,
) -> None:
    """Revoke, settle, and compare with a run that excluded the samples and with one whose file never held them."""
    ids = [sample_id for request in requests for sample_id in request]
    write_samples(folder / "all.parquet", text_ids=text_ids)
    write_samples(folder / "without.parquet", text_ids=text_ids, without=ids, shuffle=1)
    config = make_config(folder / "all.parquet", **branches)
    run = train_run(config, folder / "run")
    for request in requests:
        revoke(run, request, strategy=strategy)
    settle(run)
    train_run(config, folder / "excluded", exclude=ids)
    assert repaired_weights(folder / "run") == repaired_weights(folder / "excluded")
    data = {**branches.get("data", {}), "train": str(folder / "without.parquet")}
    train_run(make_config(folder / "without.parquet", **{**branches, "data": data}), folder / "never-held")
    assert repaired_weights(folder / "run") == repaired_weights(folder / "never-held")


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Case], str, bool, int, int]:
    slices = draw(st.integers(1, 4))
    training = draw(st.sampled_from(TRAININGS))
    unlearning: Case = {"strategy": "sisa"}
    if training["optimizer"] == "sgd" and "momentum" not in training and draw(st.booleans()):
        unlearning |= {"contributions": "group", "groups_per_slice": 2}
    elif draw(st.booleans()):
        unlearning |= {"contributions": draw(st.sampled_from(["gradient", "batch"]))}
    unlearning["ohs"] = {
        "remedy": draw(st.sampled_from(["fine_tune", "replay"])),
        "slices": draw(st.integers(1, slices)),
    }
    branches: dict[str, Case] = {
        "data": {"owner": "owner", "risk": "risk", "normalize": draw(st.sampled_from(["none", "shard"]))},
        "model": draw(st.sampled_from(MODELS)),
        "training": {**training, "epochs": draw(st.integers(3, 5)), "batch_size": draw(st.sampled_from([7, 16, 64]))},
        "partition": {
            "shards": draw(st.integers(1, 3)),
            "slices": slices,
            "policy": draw(st.sampled_from(["uniform", "owner", "risk"])),
            "seed": draw(st.integers(0, 50)),
        },
        "unlearning": unlearning,
    }
    strategy = draw(st.sampled_from(["sisa", "sisa", "dpus", "hs", "ohs"]))
    return branches, strategy, draw(st.booleans()), draw(st.integers(1, 25)), draw(st.integers(1, 2))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(case=cases(), seed=st.integers(0, 1000))
def test_settled_runs_equal_runs_that_never_saw_the_forget_set(
    case: tuple[dict[str, Case], str, bool, int, int], seed: int
) -> None:
    branches, strategy, text_ids, count, requests = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_samples(folder / "all.parquet", text_ids=text_ids)
        chosen = np.random.default_rng(seed).permutation(np.array(table["id"].to_pylist(), dtype=object))
        forget = [chosen[start * count : (start + 1) * count].tolist() for start in range(requests)]
        require_law(folder, branches, forget, strategy=strategy, text_ids=text_ids)


def homes(config: Config) -> list[tuple[SampleId, int, int]]:
    """(sample id, shard, slice) of every sample"""
    table = read_table(config.data.train, config.data)
    shards, slices = place(table, config.partition)
    return list(zip(table.ids.tolist(), shards.tolist(), slices.tolist(), strict=True))


def all_of_a_slice(config: Config) -> list[SampleId]:
    return [sample_id for sample_id, shard, slice_index in homes(config) if (shard, slice_index) == (0, 1)]


def the_first_slice(config: Config) -> list[SampleId]:
    return [sample_id for sample_id, shard, slice_index in homes(config) if (shard, slice_index) == (1, 0)]


def some_of_the_last_slice(config: Config) -> list[SampleId]:
    return [sample_id for sample_id, _, slice_index in homes(config) if slice_index == 2][:5]


def some_of_several_slices_of_a_shard(config: Config) -> list[SampleId]:
    return [sample_id for sample_id, shard, _ in homes(config) if shard == 0][::6]


def a_whole_owner(config: Config) -> list[SampleId]:
    table = read_table(config.data.train, config.data)
    assert table.owners is not None
    return [sample_id for sample_id, owner in zip(table.ids.tolist(), table.owners, strict=True) if owner == "owner-3"]


def a_whole_class(config: Config) -> list[SampleId]:
    table = read_table(config.data.train, config.data)
    return table.ids[table.labels == 2].tolist()


@pytest.mark.parametrize("policy", ["uniform", "owner"])
@pytest.mark.parametrize(
    "forget",
    [
        all_of_a_slice,
        the_first_slice,
        some_of_the_last_slice,
        some_of_several_slices_of_a_shard,
        a_whole_owner,
        a_whole_class,
    ],
)
def test_the_law_holds_for(tmp_path: Path, forget: Callable[[Config], list[SampleId]], policy: str) -> None:
    branches = {"data": {"owner": "owner"}, "partition": {"policy": policy}, "training": TRAININGS[1]}
    write_samples(tmp_path / "all.parquet")
    require_law(tmp_path, branches, [forget(make_config(tmp_path / "all.parquet", **branches))])


def test_a_shard_emptied_by_revocation_equals_one_that_never_had_samples(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    ids = [sample_id for sample_id, shard, _ in homes(config) if shard == 0]
    revoke(train_run(config, tmp_path / "run"), ids, strategy="sisa")
    train_run(config, tmp_path / "excluded", exclude=ids)
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "excluded")


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    assert isinstance(table, pa.Table)
    write_samples(tmp_path / "shuffled.parquet", shuffle=9)
    train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    train_run(make_config(tmp_path / "shuffled.parquet"), tmp_path / "other")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "other")


def test_another_forget_set_gives_other_weights(tmp_path: Path) -> None:
    """The law's tests can fail: leaving one sample in is seen."""
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    ids = [sample_id for sample_id, shard, _ in homes(config) if shard == 0][:4]
    revoke(train_run(config, tmp_path / "run"), ids[:3], strategy="sisa")
    train_run(config, tmp_path / "excluded", exclude=ids)
    assert repaired_weights(tmp_path / "run")[0] != repaired_weights(tmp_path / "excluded")[0]
