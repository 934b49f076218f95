"""Predictions of samples in Arrow streams: the answers of JSON, bounds, and streams with changed bytes."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from raymu.web.arrow_messages import MOST_FIELDS
from raymu.web.arrow_stream import MEDIA_TYPE, MOST_VALUES, write_stream
from raymu.web.documents import MOST_ROWS
from raymu.web.tokens import Role
from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import Service, opened_service

ARROW = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrow")
    write_samples(folder / "all.parquet", samples=60)
    create_run(make_config(folder / "all.parquet", training={"epochs": 1}, partition={"slices": 1}), folder / "run")
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with opened_service(folder, "run") as opened:
        yield opened


def rows(count: int = 5) -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(count, 6)).astype(np.float32)


def lists(values: npt.NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def stream_of(table: pa.Table, *, batch_rows: int = 2, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def post(service: Service, body: bytes, query: str = "", **headers: str) -> Any:
    return service.client.post(f"/v1/predictions{query}", content=body, headers=ARROW | headers)


COLUMNS = {
    "lists of one length": lambda: lists(rows()),
    "lists of any length": lambda: pa.array(rows().tolist(), type=pa.list_(pa.float32())),
    "float64": lambda: lists(rows().astype(np.float64)),
    "tensors": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(rows()),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_stream_is_predicted_as_arrays_are(service: Service, kind: str) -> None:
    expected = service.client.post("/v1/predictions", json={"features": rows().tolist()}).json()
    answer = post(service, stream_of(pa.table({"features": COLUMNS[kind]()})))
    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPE), answer.text
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table["label"].to_pylist() == expected["labels"]
    np.testing.assert_array_equal(table["probabilities"].to_pylist(), np.float32(expected["probabilities"]))
    generation = table.schema.metadata[b"raymu.generation"].decode()
    assert generation == answer.headers["raymu-generation"] == str(expected["generation"])
    assert table.schema.metadata[b"raymu.run"] == b"run"


def test_either_side_may_be_json(service: Service) -> None:
    stream = stream_of(pa.table({"features": lists(rows())}))
    expected = service.client.post("/v1/predictions", json={"features": rows().tolist()}).json()
    assert post(service, stream, Accept="*/*").json() == expected
    assert post(service, stream, "?labels_only=true&run=run", Accept="application/json").json()["probabilities"] is None
    answer = service.client.post(
        "/v1/predictions", json={"features": rows().tolist(), "labels_only": True}, headers={"Accept": MEDIA_TYPE}
    )
    assert pa.ipc.open_stream(answer.content).read_all().column_names == ["label", "certain"]


def extension(name: str) -> pa.Table:
    field = pa.field("features", pa.binary(), metadata={"ARROW:extension:name": name, "ARROW:extension:metadata": "x"})
    return pa.table([pa.array([b"x"])], schema=pa.schema([field]))


BITS = pa.FixedSizeListArray.from_arrays(pa.nulls(2**25, pa.bool_()), 2**13)
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "compressed": (lambda: stream_of(pa.table({"features": lists(rows())}), compression="zstd"), "compress"),
    "compressed dictionary": (
        lambda: stream_of(pa.table({"f": pa.array(["a" * 100] * 50).dictionary_encode()}), compression="lz4"),
        "compress",
    ),
    "rows": (lambda: stream_of(pa.table({"features": np.zeros(MOST_ROWS + 1)}), batch_rows=MOST_ROWS), "rows"),
    "no rows": (lambda: stream_of(pa.table({"features": lists(rows(0))})), "no rows"),
    "values": (lambda: stream_of(pa.table({"f": BITS}), batch_rows=2**16), f"{MOST_VALUES:,} values"),
    "texts of a dictionary": (
        lambda: write_stream(
            pa.table({"f": pa.DictionaryArray.from_arrays(np.zeros(2**15, np.int8), pa.array(["a" * 2**10]))})
        ),
        "values",
    ),
    "columns": (lambda: write_stream(pa.table({str(n): [1] for n in range(MOST_FIELDS + 1)})), "columns"),
    "nothing's type": (lambda: stream_of(pa.table({"features": pa.nulls(3)})), "type null"),
    "views": (lambda: stream_of(pa.table({"features": pa.array(["a"], pa.string_view())})), "type string_view"),
    "deep": (lambda: stream_of(pa.table({"features": pa.array([[[[[[1.0]]]]]])})), "type list"),
    "pickles": (lambda: stream_of(extension("ray.data.arrow_pickled_object")), "ray.data.arrow_pickled_object"),
    "another extension": (lambda: stream_of(extension("arrow.uuid")), "arrow.uuid"),
    "another column": (lambda: stream_of(pa.table({"other": lists(rows())})), "features"),
    "another shape": (lambda: stream_of(pa.table({"features": lists(rows()[:, :4].copy())})), "shape"),
    "no number": (lambda: stream_of(pa.table({"features": lists(rows() * np.nan)})), "features"),
    "missing": (lambda: stream_of(pa.table({"features": pa.array([None, [1.0] * 6])})), "features"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_stream_that_is_too_much_or_does_not_fit_is_refused(service: Service, kind: str) -> None:
    make, problem = REFUSED[kind]
    answer = post(service, make())
    assert (answer.status_code, problem in answer.json()["error"]) in ((422, True), (400, True)), answer.text
    assert "\n" not in answer.json()["error"]


def test_columns_with_very_many_notes_are_refused(service: Service) -> None:
    """Columns of a stream can share their notes, so their number is not bounded by the stream's length."""
    notes = {str(number): "" for number in range(60_000)}
    schema = pa.schema([pa.field("features", pa.list_(pa.float32(), 6), metadata=notes)])
    answer = post(service, stream_of(pa.table([lists(rows())], schema=schema)))
    assert (answer.status_code, "50,000 notes" in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize("body", [b"", b"ARROW1\0\0", b"{}", b"\xff" * 64, b"\xff\xff\xff\xff\xff\xff\xff\x7f"])
def test_what_is_no_stream_is_refused(service: Service, body: bytes) -> None:
    assert post(service, body).status_code == 400


def test_an_arrow_stream_deletes_nothing_and_needs_the_right_to_predict(folder: Path) -> None:
    stream = stream_of(pa.table({"ids": [1007]}))
    with opened_service(folder, "run", has_tokens=True) as closed:
        assert closed.client.post("/v1/requests", content=stream, headers=ARROW).status_code == 415
        assert post(closed, stream).status_code == 401
        assert post(closed, stream, **closed.as_caller(Role.AUDITOR)).status_code == 403
        predictor = closed.as_caller(Role.PREDICTOR)
        assert post(closed, stream_of(pa.table({"features": lists(rows())})), **predictor).status_code == 200
    (folder / "tokens.json").unlink()


@pytest.mark.parametrize("count", [300, pytest.param(50_000, marks=pytest.mark.nightly)])
def test_streams_with_changed_bytes_are_answered_or_refused_in_one_line(service: Service, count: int) -> None:
    chance = random.Random(11)
    texts = pa.array(["a", "bc", None, "d", "a"])
    streams = [
        stream_of(pa.table({"features": lists(rows())})),
        stream_of(pa.table({"features": pa.array(rows().tolist())})),
        stream_of(pa.table({"features": COLUMNS["tensors"]()})),
        stream_of(pa.table({"features": texts, "f": texts.dictionary_encode()})),
        stream_of(pa.table({"features": lists(rows())}), compression="lz4"),
    ]
    for _ in range(count):
        body = bytearray(chance.choice(streams))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(body) or 1)
            match chance.randrange(4):
                case 0:
                    del body[at : at + chance.randint(1, 9)]
                case 1:
                    body[at : at + 4] = chance.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff" * 4, b"\1\0\0\0"])
                case 2:
                    body = body[: max(1, at)]
                case _:
                    body[at : at + 1] = bytes([chance.randrange(256)])
        answer = post(service, bytes(body), Accept="application/json")
        assert answer.status_code in (200, 400, 422), (bytes(body), answer.text)
        if answer.status_code != 200:
            assert "\n" not in answer.json()["error"]
