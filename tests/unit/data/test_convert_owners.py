"""A column of owners stays one when a CSV file is imported, and is never a feature."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raymu.data.convert import ImportOptions, import_samples
from raymu.errors import DataInvalid

ROWS = "label,a,owner,b\n1,5,7,3\n0,6,9,4\n"
TEXT = "label,a,person,b\n1,5,anna,3\n0,6,,4\n"


@pytest.mark.parametrize(
    ("content", "options", "owners"),
    [(ROWS, {}, [7, 9]), (ROWS, {"owner": "3"}, [7, 9]), (TEXT, {"owner": "person"}, ["anna", ""])],
    ids=["by its name", "by its number", "text, one of it empty"],
)
def test_owners_are_kept_and_are_no_feature(
    tmp_path: Path, content: str, options: dict[str, str], owners: list[object]
) -> None:
    (tmp_path / "rows.csv").write_text(content)
    result = import_samples(str(tmp_path / "rows.csv"), str(tmp_path / "rows.parquet"), ImportOptions(**options))  # type: ignore[arg-type]
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table["owner"].to_pylist() == owners
    assert table["features"].to_pylist() == [[5, 3], [6, 4]]
    assert (result.features, result.owner) == (2, "person" if "person" in content else "owner")


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"owner": "label"}, "cannot be both the owner and the label"), ({"owner": "nobody"}, "with --owner")],
)
def test_an_owner_that_is_another_column_or_none_is_refused(
    tmp_path: Path, options: dict[str, str], problem: str
) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    with pytest.raises(DataInvalid, match=problem):
        import_samples(str(tmp_path / "rows.csv"), str(tmp_path / "rows.parquet"), ImportOptions(**options))  # type: ignore[arg-type]
    assert not (tmp_path / "rows.parquet").exists()


def test_a_column_called_owner_can_be_the_label(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("owner,a\n1,5\n0,6\n")
    options = ImportOptions(label="owner")
    assert import_samples(str(tmp_path / "rows.csv"), str(tmp_path / "rows.parquet"), options).owner is None
