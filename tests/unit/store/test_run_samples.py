from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.records import SampleId
from raymu.errors import FileCorrupt, FileMissing
from raymu.store.run import RunStore
from tests.unit.store.strategies import names


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(str(tmp_path / "run"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def samples(ids: Sequence[SampleId]) -> pa.Table:
    notes = [f"about {sample_id}" for sample_id in ids]
    return pa.table({"id": pa.array(ids), "note": pa.array(notes)}).replace_schema_metadata({"shape": "[1]"})


@given(
    ids=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1, max_size=9)
    | st.lists(names, unique=True, min_size=1, max_size=9),
    data=st.data(),
)
def test_dropped_samples_are_gone_and_the_others_untouched(
    shared: Path, ids: list[SampleId], data: st.DataObject
) -> None:
    store = RunStore(str(shared))
    table = samples(ids)
    store.write_samples(1, table)
    assert store.read_samples(1).equals(table, check_metadata=True)
    dropped = set(data.draw(st.lists(st.sampled_from(ids), unique=True)))
    assert store.drop_samples(1, dropped) == len(dropped)
    kept = samples([sample_id for sample_id in ids if sample_id not in dropped])
    assert store.read_samples(1).equals(kept.cast(table.schema), check_metadata=True)
    assert store.drop_samples(1, dropped) == 0


def test_dropped_samples_leave_no_bytes_in_the_run(store: RunStore, tmp_path: Path) -> None:
    store.write_samples(0, samples(["anna@example.org", "zoe@example.org"]))

    def holds(text: bytes) -> bool:
        return any(text in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert holds(b"anna@example.org")
    assert holds(b"zoe@example.org")
    assert store.drop_samples(0, ["zoe@example.org", "unknown@example.org"]) == 1
    assert holds(b"anna@example.org")
    assert not holds(b"zoe@example.org")


@given(data=st.data())
def test_a_flipped_byte_never_changes_a_sample_unnoticed(shared: Path, data: st.DataObject) -> None:
    store = RunStore(str(shared))
    table = samples(range(5))
    ref = store.write_samples(2, table)
    damaged = bytearray(store.files.read(ref.path))
    footer = int.from_bytes(damaged[-8:-4], "little") + 8
    damaged[data.draw(st.integers(0, len(damaged) - footer - 1))] ^= data.draw(st.integers(1, 255))
    (shared / ref.path).write_bytes(damaged)
    try:
        read = store.read_samples(2)
    except FileCorrupt:
        return
    assert read.equals(table)


def test_a_cut_sample_file_is_refused(store: RunStore, tmp_path: Path) -> None:
    ref = store.write_samples(0, samples([1]))
    place = tmp_path / "run" / ref.path
    place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(FileCorrupt, match="not the Parquet file that was written"):
        store.read_samples(0)


def test_some_columns_of_a_shard_are_read_alone(store: RunStore) -> None:
    store.write_samples(0, samples([1, 2]))
    assert store.read_samples(0, ["id"]).to_pydict() == {"id": [1, 2]}
    with pytest.raises(FileMissing):
        store.read_samples(1)
