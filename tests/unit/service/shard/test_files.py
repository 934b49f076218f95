from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.records import SampleId
from raymu.errors import FileCorrupt, FileMissing
from raymu.service.shard.files import write_without
from raymu.store.run import RunStore
from tests.support.examples import make_config
from tests.support.stored_records import names


def opened(folder: Path) -> RunStore:
    """Return a run of which only the settings are there."""
    store = RunStore(str(folder))
    store.config = make_config("all.parquet")
    return store


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return opened(tmp_path / "run")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def samples(ids: Sequence[SampleId]) -> pa.Table:
    notes = [f"about {sample_id}" for sample_id in ids]
    slices = pa.array([0] * len(ids), type=pa.int64())
    return pa.table({"id": pa.array(ids), "slice": slices, "note": pa.array(notes)}).replace_schema_metadata(
        {"shape": "[1]"}
    )


@given(
    ids=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1, max_size=9)
    | st.lists(names, unique=True, min_size=1, max_size=9),
    data=st.data(),
)
def test_a_table_without_some_samples_is_the_one_that_never_held_them(
    shared: Path, ids: list[SampleId], data: st.DataObject
) -> None:
    store = opened(shared)
    table = samples(ids)
    whole = store.samples.write(1, table)
    assert store.samples.read_table(whole.table).equals(table, check_metadata=True)
    forget = set(data.draw(st.lists(st.sampled_from(ids), unique=True)))
    rest = write_without(store, 1, whole, forget)
    kept = samples([sample_id for sample_id in ids if sample_id not in forget])
    assert store.samples.read_table(rest.table).equals(kept.cast(table.schema), check_metadata=True)
    assert rest == store.samples.write(1, kept.cast(table.schema)), "the index too"
    assert write_without(store, 1, rest, forget) == rest


def test_a_superseded_table_leaves_no_bytes_in_the_run(store: RunStore, tmp_path: Path) -> None:
    whole = store.samples.write(0, samples(["anna@example.org", "zoe@example.org"]))

    def holds(text: bytes) -> bool:
        return any(text in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert holds(b"zoe@example.org")
    write_without(store, 0, whole, ["zoe@example.org"])
    assert store.destroy(whole.files) == 2
    assert holds(b"anna@example.org")
    assert not holds(b"zoe@example.org")


@given(data=st.data())
def test_a_flipped_byte_never_changes_a_sample_unnoticed(shared: Path, data: st.DataObject) -> None:
    store = opened(shared)
    ref = store.samples.write_table(2, samples(range(5)))
    damaged = bytearray(store.files.read(ref.path))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    (shared / ref.path).write_bytes(damaged)
    with pytest.raises(FileCorrupt, match="not those that were written"):
        store.samples.read_table(ref)


def test_some_columns_of_a_table_are_read_alone(store: RunStore) -> None:
    ref = store.samples.write_table(0, samples([1, 2]))
    assert store.samples.read_table(ref, ["id"]).to_pydict() == {"id": [1, 2]}
    store.destroy([ref])
    with pytest.raises(FileMissing):
        store.samples.read_table(ref)
