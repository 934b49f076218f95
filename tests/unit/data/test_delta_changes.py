"""What a Delta Lake table deletes, by its change data feed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("deltalake")

from deltalake import DeltaTable, write_deltalake

from raymu.data.delta_changes import DeletedIds, DeltaChanges
from raymu.errors import RequestInvalid
from raymu.service.requests.delta_table import read_table_deletions
from raymu.service.requests.lookup import FoundRequest

FEED = {"delta.enableChangeDataFeed": "true"}


def write(folder: Path, ids: Sequence[Any], *, mode: Any = "error", feed: bool = True) -> DeltaTable:
    table = pa.table({"id": ids, "x": [float(number) for number in range(len(ids))]})
    write_deltalake(str(folder), table, mode=mode, configuration=FEED if feed and mode == "error" else None)
    return DeltaTable(str(folder))


def deleted(folder: Path, first: int = 1) -> list[DeletedIds]:
    return list(DeltaChanges(str(folder)).deleted_ids("id", first=first))


def find_none(keys: Sequence[str]) -> list[FoundRequest]:
    return [FoundRequest(kind="key", value=key, request_id=None) for key in keys]


def test_deleted_rows_and_changed_ids_are_deletions_and_nothing_else_is(tmp_path: Path) -> None:
    table = write(tmp_path, [1, 2, 3, 4])
    table.delete("id = 2")
    table.update(predicate="id = 3", updates={"id": "33"})
    table.update(predicate="id = 4", updates={"x": "9.0"})
    write(tmp_path, [7], mode="append")
    DeltaTable(str(tmp_path)).optimize.compact()
    write(tmp_path, [1, 7, 33], mode="overwrite")  # rewrites all but 4
    assert deleted(tmp_path) == [
        DeletedIds(version=1, ids=(2,)),
        DeletedIds(version=2, ids=(3,)),
        DeletedIds(version=6, ids=(4,)),
    ]
    assert [each.version for each in deleted(tmp_path, 2)] == [2, 6]
    assert deleted(tmp_path, 7) == []


def test_ids_may_be_texts(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"]).delete("id = 'b'")
    assert deleted(tmp_path) == [DeletedIds(version=1, ids=("b",))]


def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "off", [1, 2], feed=False).delete("id = 1")
    table = write(tmp_path / "vacuumed", [1, 2])
    table.delete("id = 1")
    write(tmp_path / "vacuumed", [3], mode="overwrite")
    DeltaTable(str(tmp_path / "vacuumed")).vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True
    )
    write(tmp_path / "named", [1])
    (tmp_path / "empty").mkdir()
    for name, column, problem in (
        ("off", "id", "keeps no change data feed for version 1"),
        ("vacuumed", "id", "were vacuumed"),
        ("named", "subject", "has no column subject"),
        ("empty", "id", "is no Delta table"),
        ("missing", "id", "is no Delta table"),
    ):
        with pytest.raises(RequestInvalid, match=problem) as refusal:
            read_table_deletions(str(tmp_path / name), column, since=0, find=find_none)
        assert "\n" not in str(refusal.value), name


def test_each_version_is_one_request_after_the_last_one_that_is_known(tmp_path: Path) -> None:
    table = write(tmp_path, [1, 2, 3])
    table.delete("id = 2")
    table.delete("id = 3")
    with pytest.raises(RequestInvalid, match="give --since the version"):
        read_table_deletions(str(tmp_path), "id", since=None, find=find_none)
    with pytest.raises(RequestInvalid, match="later than the table"):
        read_table_deletions(str(tmp_path), "id", since=3, find=find_none)
    first = read_table_deletions(str(tmp_path), "id", since=0, find=find_none)
    assert (first.versions, first.last) == ((1, 2), 2)
    known = first.revocations[0].key

    def find(keys: Sequence[str]) -> list[FoundRequest]:
        return [FoundRequest(kind="key", value=key, request_id="r" if key == known else None) for key in keys]

    rest = read_table_deletions(str(tmp_path), "id", since=None, find=find)
    assert (rest.versions, rest.revocations) == ((2,), first.revocations[1:])
    again = read_table_deletions(str(tmp_path), "id", since=0, find=find)
    assert again == first, "a version that was refused is not lost once a later one is accepted"
