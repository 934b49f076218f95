import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import raymu
from raymu.data.arrow_source import arrow_reader, open_for_arrow


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": range(1000), "score": np.linspace(0, 1, 1000)}), sink)
    return sink.getvalue()


def test_arrow_never_holds_bytes_of_python() -> None:
    payload = parquet()
    before = sys.getrefcount(payload)
    reader = arrow_reader(payload)
    assert sys.getrefcount(payload) == before
    assert pq.read_table(reader)["id"].to_pylist() == list(range(1000))


def test_no_bytes_are_bytes_too() -> None:
    assert arrow_reader(b"").read() == b""


def test_only_this_module_makes_a_reader_of_bytes() -> None:
    package = Path(raymu.__file__).parent
    readers = [path for path in package.rglob("*.py") if "pa.BufferReader(" in path.read_text(encoding="utf-8")]
    assert [path.name for path in readers] == ["arrow_source.py"]


def test_a_file_is_opened_by_arrow(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet())
    with open_for_arrow(tmp_path / "a.parquet") as file:
        assert isinstance(file, pa.OSFile)
