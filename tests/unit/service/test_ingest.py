"""Ingest: its results, and what it refuses before anything is written."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.core.records import SampleId
from raymu.errors import (
    ConfigInvalid,
    DataInvalid,
    FileUnreadable,
    RaymuError,
    RequestInvalid,
    RunInvalid,
    StorageFailed,
    UnknownOwner,
    UnknownSamples,
)
from raymu.service.ingest import prepare_run
from raymu.store.run import RunStore
from tests.support.coordinated_run import homes, ids_at
from tests.support.examples import file_size_limit, make_config, write_samples

REFUSED_SETTINGS: dict[str, tuple[dict[str, dict[str, Any]], type[RaymuError], str]] = {
    "too few epochs": ({"training": {"epochs": 1}}, ConfigInvalid, "too few for 3 slices.*use 2 or more"),
    "an unreadable boundary": ({"unlearning": {"boundary": "soon"}}, ConfigInvalid, "not of the form 0.35, 30s"),
    "a boundary over the whole shard": ({"unlearning": {"boundary": 1.5}}, ConfigInvalid, "over 1"),
    "groups without their number": (
        {"unlearning": {"contributions": "group"}},
        ConfigInvalid,
        r"groups_per_slice must be given.*\b2 makes batches of about 16",
    ),
    "unit range of fractions": ({"data": {"normalize": "unit"}}, ConfigInvalid, "unit is for uint8 and uint16"),
    "labels beyond the classes": ({"data": {"classes": 2}}, DataInvalid, "label is 2, but data.classes is 2"),
    "more slices than samples": (
        {"training": {"epochs": 200}, "partition": {"shards": 1, "slices": 241}},
        DataInvalid,
        "240 samples for 241 slices",
    ),
    "slices without number": ({"partition": {"shards": 1, "slices": 10**9}}, ConfigInvalid, "must be at most 10000"),
    "a journal that is not a database": ({"cluster": {"journal": "here"}}, ConfigInvalid, r"cluster\.journal"),
    "a journal in memory": ({"cluster": {"journal": "sqlite://"}}, ConfigInvalid, "needs a file's whole path"),
    "a journal that is not there": (
        {"cluster": {"journal": "sqlite:////nowhere/journal.sqlite"}},
        FileUnreadable,
        "the journal cannot be read .unable to open",
    ),
    "an empty shard": ({"partition": {"shards": 900, "slices": 1}}, DataInvalid, "would hold no samples"),
    "an unknown model": ({"model": {"name": "transformer"}}, ConfigInvalid, "must be logistic, mlp"),
    "an unknown setting of a model": ({"model": {"name": "mlp", "depth": 3}}, ConfigInvalid, "no such setting"),
    "features that are not an image": ({"model": {"name": "cnn"}}, ConfigInvalid, "not an image"),
    "batch norm without batches": (
        {"model": {"name": "mlp", "batch_norm": True}, "training": {"batch_size": 1}},
        ConfigInvalid,
        "batch norm needs batches of two samples",
    ),
}


@pytest.mark.parametrize("case", REFUSED_SETTINGS)
def test_settings_that_cannot_be_trained_are_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    branches, error, message = REFUSED_SETTINGS[case]
    write_samples(tmp_path / "all.parquet")
    with pytest.raises(error, match=message):
        prepare_run(make_config(tmp_path / "all.parquet", **branches), str(tmp_path / "run")).write()
    assert not (tmp_path / "run").exists()


def test_the_unit_range_of_wide_integers_is_refused_since_their_type_does_not_tell_it(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    place = table.column_names.index("features")
    for kind in ("int64", "uint16"):
        pixels = pa.array([[0, 255]] * len(table), pa.list_(pa.type_for_alias(kind), 2))
        pq.write_table(table.set_column(place, "features", pixels), tmp_path / f"{kind}.parquet")
    with pytest.raises(ConfigInvalid, match="the features are int64; cast to uint8, or use shard"):
        prepare_run(make_config(tmp_path / "int64.parquet", data={"normalize": "unit"}), str(tmp_path / "run")).write()
    assert not (tmp_path / "run").exists()
    prepare_run(make_config(tmp_path / "uint16.parquet", data={"normalize": "unit"}), str(tmp_path / "run")).write()


def test_labels_far_beyond_the_samples_are_refused(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    labels = pa.array([10**9, *table["label"].to_pylist()[1:]])
    pq.write_table(table.set_column(1, "label", labels), tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"classes": None})
    with pytest.raises(
        DataInvalid, match="has a label 1000000000 among 240 samples; number the classes from 0, without"
    ):
        prepare_run(config, str(tmp_path / "run")).write()
    assert not (tmp_path / "run").exists()


def test_classes_are_counted_in_the_file_before_samples_are_excluded(tmp_path: Path) -> None:
    """This includes a class without samples, and one whose samples are all excluded."""
    table = write_samples(tmp_path / "all.parquet")
    labels = [label if label < 2 else 4 for label in table["label"].to_pylist()]
    pq.write_table(table.set_column(1, "label", pa.array(labels)), tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"classes": None})
    highest = [sample_id for sample_id, label in zip(table["id"].to_pylist(), labels, strict=True) if label == 4]
    prepare_run(config, str(tmp_path / "run"), exclude=highest).write()
    assert RunStore(str(tmp_path / "run")).manifest.classes == 5


@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_for_which_the_disk_is_full_leaves_its_location_unchanged(tmp_path: Path, is_there: bool) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    if is_there:
        (tmp_path / "runs" / "one").mkdir(parents=True)
    with file_size_limit(1000), pytest.raises(StorageFailed, match="has room"):
        prepare_run(config, str(tmp_path / "runs" / "one")).write()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == (
        ["all.parquet", "runs", "runs/one"] if is_there else ["all.parquet"]
    )
    prepare_run(config, str(tmp_path / "runs" / "one")).write()


@pytest.mark.parametrize("training", [{"optimizer": "adam"}, {"momentum": 0.9}])
def test_groups_are_refused_where_an_update_mixes_batches(tmp_path: Path, training: dict[str, Any]) -> None:
    unlearning = {"contributions": "group", "groups_per_slice": 2}
    with pytest.raises(ConfigInvalid, match="sgd without momentum"):
        make_config(tmp_path / "all.parquet", training=training, unlearning=unlearning)


def test_a_shard_of_a_single_class_is_kept_and_said(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    shards = {sample_id: shard for sample_id, shard, _ in homes(config)}
    labels = [0 if shards[sample_id] == 1 else 1 + shards[sample_id] for sample_id in table["id"].to_pylist()]
    pq.write_table(table.set_column(1, "label", pa.array(labels)), tmp_path / "all.parquet")
    manifest = prepare_run(config, str(tmp_path / "run")).manifest
    assert manifest.conversions == (
        "shards 0, 1 of 2: a single class, which is all that they can learn; fewer shards would mix classes",
    )


def test_a_table_of_a_single_class_is_refused(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    labels = pa.array(["dog"] * table.num_rows)
    pq.write_table(table.set_column(1, "label", labels), tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"classes": None})
    with pytest.raises(DataInvalid, match="column label has the same label in all rows; training needs two or more"):
        prepare_run(config, str(tmp_path / "run")).write()
    assert not (tmp_path / "run").exists()


def test_labels_that_are_text_are_kept_as_the_classes_of_the_run(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    names = ["fox", "ant", "dog"]
    labels = pa.array([names[label] for label in table["label"].to_pylist()])
    pq.write_table(table.set_column(1, "label", labels), tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"classes": None})
    foxes = [row["id"] for row in pq.read_table(tmp_path / "all.parquet").to_pylist() if row["label"] == "fox"]
    prepare_run(config, str(tmp_path / "run"), exclude=foxes).write()
    manifest = RunStore(str(tmp_path / "run")).manifest
    assert (manifest.classes, manifest.class_names) == (3, ("ant", "dog", "fox"))
    assert manifest.conversions == ("labels in column label: class 0 is 'ant', 1 is 'dog', 2 is 'fox'",)


EXCLUDED: dict[str, tuple[Callable[[int], Any], list[Any]]] = {
    "floats": (float, [1.0, 1, "1"]),
    "decimals": (Decimal, [Decimal("1.00"), np.int8(1)]),
    "padded text": (lambda number: f"a{number} ", ["a1", " a1"]),
    "UUIDs": (lambda number: UUID(int=number).bytes, [UUID(int=1), UUID(int=1).hex, str(UUID(int=1)).upper()]),
    "hashes": (lambda number: bytes([255] * 7 + [number]), [bytes([255] * 7 + [1]), "ff" * 7 + "01", "FF" * 7 + "01"]),
    "huge integers": (lambda number: Decimal(2**64 + number), [2**64 + 1, str(2**64 + 1), Decimal(2**64 + 1)]),
}


@pytest.mark.parametrize(("form", "names"), EXCLUDED.values(), ids=EXCLUDED)
def test_samples_and_owners_are_excluded_in_whatever_form_they_are_named(
    tmp_path: Path, form: Callable[[int], Any], names: list[Any]
) -> None:
    table = write_samples(tmp_path / "all.parquet")
    named = pa.array([form(number) for number in range(table.num_rows)])
    table = table.set_column(0, "id", named).append_column("customer", named)
    pq.write_table(table, tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"owner": "customer"})
    for name in names:
        for prepared in (
            prepare_run(config, str(tmp_path / "run"), exclude=[name]),
            prepare_run(config, str(tmp_path / "run"), exclude_owners=[name]),
        ):
            assert prepared.samples == table.num_rows - 1


@pytest.mark.parametrize(("text_ids", "stranger"), [(False, 5), (True, "nobody")])
def test_unknown_excluded_ids_are_named_and_nothing_is_written(
    tmp_path: Path, text_ids: bool, stranger: SampleId
) -> None:
    table = write_samples(tmp_path / "all.parquet", text_ids=text_ids)
    config = make_config(tmp_path / "all.parquet")
    with pytest.raises(UnknownSamples) as refusal:
        prepare_run(config, str(tmp_path / "run"), exclude=[table["id"][0].as_py(), stranger]).write()
    assert (refusal.value.shown, refusal.value.count) == ((str(stranger),), 1)
    assert not (tmp_path / "run").exists()


def test_an_excluded_id_of_another_type_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    with pytest.raises(RequestInvalid, match="whose ids are integers"):
        prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run"), exclude=["nobody"]).write()
    assert not (tmp_path / "run").exists()


def test_excluded_integer_ids_may_be_given_as_text(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    prepare_run(config, str(tmp_path / "run"), exclude=["1000", "1007"]).write()
    store = RunStore(str(tmp_path / "run"))
    assert sum(store.samples.read_table(ref).num_rows for ref in store.manifest.tables) == 238


def test_excluding_a_whole_shard_is_allowed(tmp_path: Path) -> None:
    """The table is checked as if nothing were excluded, since revoking the same samples is allowed too."""
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    prepare_run(config, str(tmp_path / "run"), exclude=ids_at(config, shard=0)).write()
    store = RunStore(str(tmp_path / "run"))
    assert store.samples.read_table(store.manifest.tables[0]).num_rows == 0


def test_a_directory_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(RunInvalid, match="is not empty"):
        prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run")).write()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_second_run_in_the_same_place_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    prepare_run(config, str(tmp_path / "run")).write()
    manifest = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(RunInvalid, match="holds a run already"):
        prepare_run(config, str(tmp_path / "run")).write()
    assert (tmp_path / "run" / "run.json").read_bytes() == manifest


@pytest.mark.parametrize("policy", ["uniform", "owner", "risk"])
def test_every_sample_is_written_to_its_home(tmp_path: Path, policy: str) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(
        tmp_path / "all.parquet", data={"owner": "owner", "risk": "risk"}, partition={"policy": policy}
    )
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    written = set()
    for shard, ref in enumerate(store.manifest.tables):
        table = store.samples.read_table(ref, ["id", "slice"])
        written |= {(sample_id, shard, at) for sample_id, at in zip(*table.to_pydict().values(), strict=True)}
    assert written == set(homes(config))


def test_an_owners_samples_share_one_home(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"owner": "owner"}, partition={"policy": "owner"})
    places: dict[str, set[tuple[int, int]]] = {}
    for owner, (_, shard, slice_index) in zip(table["owner"].to_pylist(), homes(config), strict=True):
        places.setdefault(owner, set()).add((shard, slice_index))
    assert {len(of_owner) for of_owner in places.values()} == {1}


def test_likely_leavers_go_to_late_slices(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    config = make_config(
        tmp_path / "all.parquet",
        data={"risk": "risk"},
        partition={"policy": "risk", "risk_bands": [0.5, 0.9]},
    )
    for risk, (_, _, slice_index) in zip(table["risk"].to_pylist(), homes(config), strict=True):
        assert slice_index == (risk >= 0.5) + (risk >= 0.9)


def test_an_excluded_owner_takes_the_owners_samples_out_and_no_sample_of_that_number(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    numbers = pa.array([int(owner.removeprefix("owner-")) + 1000 for owner in table["owner"].to_pylist()])
    table = table.set_column(table.column_names.index("owner"), "owner", numbers)
    pq.write_table(table, tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"owner": "owner"})
    prepared = prepare_run(config, str(tmp_path / "run"), exclude_owners=["1007"])  # 1007 is also a sample's id
    left = [
        sample_id
        for sample_id, owner in zip(table["id"].to_pylist(), numbers.to_pylist(), strict=True)
        if owner != 1007
    ]
    prepared.write()
    tables = [prepared.store.samples.read_table(ref) for ref in prepared.store.manifest.tables]
    assert sorted(pa.concat_tables(tables)["id"].to_pylist()) == left
    assert 1007 in left


def test_an_excluded_owner_that_is_unknown_or_of_a_run_without_owners_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", data={"owner": "owner"})
    with pytest.raises(UnknownOwner, match="nobody"):
        prepare_run(config, str(tmp_path / "run"), exclude_owners=["owner-1", "nobody"])
    with pytest.raises(RequestInvalid, match=r"set data\.owner, or exclude samples by id"):
        prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run"), exclude_owners=["owner-1"])
    assert not (tmp_path / "run").exists()
