"""Ids, owners and labels of every type that a table can have, as raymu keeps them."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.data.scalars import as_id
from raymu.data.spellings import spelling_in, spellings
from raymu.data.values import IdKind, labels, owners, sample_ids
from raymu.errors import DataInvalid

FIRST, SECOND = UUID("3d276989-dba2-4d28-b0f5-d582874bddc3"), UUID("0a276989-dba2-4d28-b0f5-d582874bddff")
UUIDS = [str(FIRST), str(SECOND)]
MOMENT = datetime(2026, 12, 1, 16, 30, 5, 250_000)


def column(values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type=kind)])


def extension(kind: pa.DataType, storage: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array([pa.ExtensionArray.from_storage(kind, storage)])


def huge(number: int) -> bytes:
    return number.to_bytes(16, "little", signed=True)


INTEGERS: dict[str, pa.ChunkedArray] = {
    **{
        str(kind): column([17, 4], kind)
        for kind in (
            *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
            *(pa.float16(), pa.float32(), pa.float64()),
            *(
                pa.decimal32(4, 0),
                pa.decimal64(12, 2),
                pa.decimal128(38, 0),
                pa.decimal128(20, 3),
                pa.decimal256(50, 1),
            ),
        )
    },
    "dictionary": column([17, 4], pa.int32()).dictionary_encode(),
    "runs": pa.chunked_array([pc.run_end_encode(pa.array([9, 17, 4]))[1:]]),
    "an opaque integer of 128 bits": extension(
        pa.opaque(pa.binary(16), "hugeint", "DuckDB"), pa.array([huge(17), huge(4)], pa.binary(16))
    ),
    "a dictionary of decimals": column([Decimal(17), Decimal(4)]).dictionary_encode(),
}


@pytest.mark.parametrize("values", INTEGERS.values(), ids=INTEGERS)
def test_whole_numbers_of_every_type_are_integers(values: pa.ChunkedArray) -> None:
    ids = sample_ids("a.parquet", "id", values)
    assert ids.kind is IdKind.INTEGER
    assert ids.values.dtype == np.int64
    assert ids.values.tolist() == [17, 4]
    assert [as_id(value) for value in values.to_pylist() if not isinstance(value, bytes)] in ([17, 4], [])
    assert owners("a.parquet", "owner", values).values.tolist() == [17, 4]
    assert labels("a.parquet", "label", values).values == [17, 4]


TEXTS: dict[str, tuple[pa.ChunkedArray, list[str]]] = {
    **{
        str(kind): (column(["anna", "7"], kind), ["anna", "7"])
        for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    },
    "bytes of a fixed number": (column([b"a1", b"b2"], pa.binary(2)), ["a1", "b2"]),
    "padded by SQL": (column(["u0     ", "u1     "]), ["u0", "u1"]),
    "padded with zeros": (column(["u0\0\0", "u1\0\0"]), ["u0", "u1"]),
    "numbers in bytes": (column([(65).to_bytes(4, "little"), (66).to_bytes(4, "little")]), ["41000000", "42000000"]),
    "unsigned beyond 64 bits": (column([17, 2**64 - 1], pa.uint64()), ["17", str(2**64 - 1)]),
    "decimal beyond 64 bits": (column([Decimal(17), Decimal(10**30)]), ["17", str(10**30)]),
    "an opaque integer beyond 64 bits": (
        extension(pa.opaque(pa.binary(16), "hugeint", "DuckDB"), pa.array([huge(-17), huge(2**100)], pa.binary(16))),
        ["-17", str(2**100)],
    ),
    "UUID": (column([FIRST.bytes, SECOND.bytes], pa.uuid()), UUIDS),
    "UUID of a vendor": (
        extension(pa.opaque(pa.binary(16), "uuid", "PostgreSQL"), pa.array([FIRST.bytes, SECOND.bytes], pa.binary(16))),
        UUIDS,
    ),
    "UUID in 16 fixed bytes": (column([FIRST.bytes, SECOND.bytes], pa.binary(16)), UUIDS),
    "UUID in 16 bytes": (column([FIRST.bytes, SECOND.bytes]), UUIDS),
    "UUID in capitals": (column([str(FIRST).upper(), f"{{{SECOND}}}"]), UUIDS),
    "UUID as a dictionary": (
        pa.chunked_array([pa.DictionaryArray.from_arrays([1, 0], pa.array([SECOND.bytes, FIRST.bytes], pa.uuid()))]),
        UUIDS,
    ),
    "JSON": (extension(pa.json_(), pa.array(["anna", "zoe"])), ["anna", "zoe"]),
    "other bytes": (column([b"\x00\xff", b"\x01"]), ["00ff", "01"]),
    "other bytes, one of which spells text": (column([b"\x00\xff", b"a"]), ["00ff", "61"]),
    "dates": (column([date(2026, 12, 1), date(1999, 1, 31)]), ["2026-12-01", "1999-01-31"]),
    "dates of 64 bits": (column([date(2026, 12, 1)], pa.date64()), ["2026-12-01"]),
    "times": (column([MOMENT, datetime(2026, 12, 1)]), ["2026-12-01T16:30:05.25", "2026-12-01"]),
    "times in a zone": (
        column([MOMENT.replace(tzinfo=timezone(timedelta(hours=2)))], pa.timestamp("ms", "Europe/Berlin")),
        ["2026-12-01T14:30:05.25Z"],
    ),
    "a dictionary of string views": (
        pa.chunked_array([pa.DictionaryArray.from_arrays([1, 0], pa.array(["zoe", "anna"], pa.string_view()))]),
        ["anna", "zoe"],
    ),
    "dictionaries that differ": (
        pa.chunked_array([pa.array(["b", "a"]).dictionary_encode(), pa.array(["c", "b"]).dictionary_encode()]),
        ["b", "a", "c", "b"],
    ),
    "runs": (pa.chunked_array([pc.run_end_encode(pa.array(["a", "a", "b"]))]), ["a", "a", "b"]),
}


@pytest.mark.parametrize(("values", "kept"), TEXTS.values(), ids=TEXTS)
def test_other_ids_are_text(values: pa.ChunkedArray, kept: list[str]) -> None:
    ids = sample_ids("a.parquet", "id", values)
    assert ids.kind is IdKind.TEXT
    assert ids.values.tolist() == kept
    assert owners("a.parquet", "owner", values).values.tolist() == kept
    # What is kept is read as it is, so that an id is the same however often it is written and read.
    assert sample_ids("a.parquet", "id", column(kept)).values.tolist() == kept
    assert [as_id(sample_id) for sample_id in kept] == kept


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (column([1, 2], pa.uint8()), ""),
        (column(["a"], pa.string_view()), ""),
        (column(["a"]).dictionary_encode(), ""),
        (column([1.0]), "ids in column id: double became integers"),
        (column([2**64 - 1], pa.uint64()), "ids in column id: uint64 became text, since some are beyond 64 bits"),
        (column([" a"]), "ids in column id: space around them was left out"),
        (column([str(FIRST).upper()]), "ids in column id: UUIDs became lower-case"),
        (column([FIRST.bytes], pa.uuid()), "ids in column id: UUIDs became text"),
        (column([b"\xff"]), "ids in column id: bytes became hexadecimal digits"),
        (column([date(2026, 12, 1)]), "ids in column id: date32[day] became text in ISO 8601"),
    ],
)
def test_what_is_converted_is_noted(values: pa.ChunkedArray, note: str) -> None:
    noted = sample_ids("a.parquet", "id", values).note
    assert noted.startswith(note)
    assert bool(noted) == bool(note)


REFUSED: dict[str, tuple[pa.ChunkedArray, str]] = {
    "a fraction": (column([17.5]), r"17\.5 has a fraction, and could be meant as 17 or as text"),
    "a decimal fraction": (column([Decimal("17.50")]), "17.50 has a fraction"),
    "a rounded float": (column([1e17]), "is a float, which may stand for 100000000000000000 or for an integer near it"),
    "a rounded float of 32 bits": (column([2.0**24], pa.float32()), "which may stand for 16777216 or"),
    "a rounded float of 16 bits": (column([2048.0], pa.float16()), "which may stand for 2048 or"),
    "infinity": (column([float("inf")]), "missing or infinite"),
    "booleans": (column([True]), "ids in column id are bool; they must be integers or strings"),
    "lists": (column([[1]]), "ids in column id are list"),
    "structures": (column([{"a": 1}]), "ids in column id are struct"),
    "durations": (column([timedelta(1)]), "ids in column id are duration"),
    "a time beyond the calendar": (column([2**62], pa.timestamp("s")), "years 1 to 9999"),
    "nothing": (column([None]), "column id lacks 1 value"),
    "NaN": (column([1.0, float("nan")]), "column id lacks 1 value"),
    "blanks": (column([" ", "", "a"]), "column id lacks 2 values"),
    "no bytes": (column([b"", b"\xff"]), "column id lacks 1 value"),
}


@pytest.mark.parametrize(("values", "problem"), REFUSED.values(), ids=REFUSED)
def test_ids_that_are_missing_or_could_be_read_in_two_ways_are_refused(values: pa.ChunkedArray, problem: str) -> None:
    with pytest.raises(DataInvalid, match=problem) as refusal:
        sample_ids("a.parquet", "id", values)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("kind", [pa.null(), pa.int64(), pa.string(), pa.dictionary(pa.int8(), pa.string()), pa.uuid()])
def test_a_table_without_rows_has_no_ids(kind: pa.DataType) -> None:
    for values in (pa.chunked_array([], type=kind), pa.chunked_array([pa.nulls(0, kind)])):
        assert sample_ids("a.parquet", "id", values).values.tolist() == []
        assert labels("a.parquet", "label", values).values == []


def test_owners_may_be_missing() -> None:
    assert owners("a.parquet", "owner", column([1.0, float("nan"), None])).values.tolist() == [1, None, None]
    assert owners("a.parquet", "owner", column(["a", " ", None])).values.tolist() == ["a", None, None]
    assert owners("a.parquet", "owner", column([None, None])).values.tolist() == [None, None]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (column([True, False, None]), [True, False, None]),
        (extension(pa.bool8(), pa.array([1, 0], pa.int8())), [True, False]),
        (column(["fox", "dog"]).dictionary_encode(), ["fox", "dog"]),
        (column([-1.0, 1.0]), [-1, 1]),
        (column(["dog  ", None]), ["dog", None]),
    ],
)
def test_labels_may_also_be_claims(values: pa.ChunkedArray, kept: list[Any]) -> None:
    assert labels("a.parquet", "label", values).values == kept
    assert [type(label) for label in labels("a.parquet", "label", values).values] == [type(label) for label in kept]


VALUES: dict[str, tuple[object, int | str]] = {
    "numpy": (np.int32(7), 7),
    "unsigned numpy": (np.uint64(2**64 - 1), str(2**64 - 1)),
    "numpy's text": (np.str_("a"), "a"),
    "numpy's date": (np.datetime64("2026-12-01"), "2026-12-01"),
    "numpy's nanoseconds": (np.datetime64("2026-12-01T16:30:05.000000001"), "2026-12-01T16:30:05.000000001"),
    "a float": (7.0, 7),
    "a float of 32 bits": (np.float32(7.0), 7),
    "a decimal": (Decimal("7.00"), 7),
    "a large decimal": (Decimal(10**30), str(10**30)),
    "a UUID": (FIRST, str(FIRST)),
    "a UUID in capitals": (str(FIRST).upper(), str(FIRST)),
    "a UUID as a URN": (FIRST.urn, str(FIRST)),
    "a UUID in 16 bytes": (FIRST.bytes, str(FIRST)),
    "bytes of text": (b"anna  ", "anna"),
    "other bytes": (b"\x00\xff", "00ff"),
    "padded text": (" anna\t", "anna"),
    "a date": (date(2026, 12, 1), "2026-12-01"),
    "a time": (MOMENT, "2026-12-01T16:30:05.25"),
    "a time in a zone": (MOMENT.replace(tzinfo=UTC), "2026-12-01T16:30:05.25Z"),
    "pandas' time": (pd.Timestamp("2026-12-01T00:00:00.000000007"), "2026-12-01T00:00:00.000000007"),
}


@pytest.mark.parametrize(("value", "kept"), VALUES.values(), ids=VALUES)
def test_a_value_of_any_type_is_the_id_that_its_column_has(value: object, kept: int | str) -> None:
    assert as_id(value) == kept
    assert type(as_id(value)) is type(kept)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        np.bool_(False),
        float("nan"),
        float("inf"),
        1.5,
        1e17,
        np.float32(2**24),
        Decimal("NaN"),
        Decimal("1e9999"),
        *["", " ", pd.NaT, pd.NA, ["a"], {}, 2**300, 10**5000, timedelta(1), np.datetime64("NaT"), object],
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_no_id_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(ValueError, match=r"\w") as refusal:
        as_id(value)
    assert len(str(refusal.value)) < 400


@given(st.integers(-(2**70), 2**70))
def test_a_number_is_one_id_in_every_form(number: int) -> None:
    forms: list[Callable[[int], object]] = [int, Decimal]
    if abs(number) < 2**53:
        forms += [float, np.float64]
    assert {as_id(form(number)) for form in forms} == {number if -(2**63) <= number < 2**63 else str(number)}


@given(st.uuids())
def test_a_uuid_is_one_id_in_every_form(uuid: UUID) -> None:
    known = {as_id(uuid)}
    for form in (uuid, uuid.bytes, str(uuid), str(uuid).upper(), uuid.hex, uuid.hex.upper(), f"{{{uuid}}}", uuid.urn):
        assert spelling_in(known, as_id(form)) in known


def _is_a_hash(value: bytes) -> bool:
    """Bytes that spell padded text lose the padding, and digits alone could be another id."""
    return not value.hex().isdecimal() and value.strip() == value


@given(st.binary(min_size=8, max_size=40).filter(_is_a_hash))
def test_a_hash_is_one_id_in_every_form(value: bytes) -> None:
    for known in (value.hex(), value.hex().upper()):
        for form in (value, value.hex(), value.hex().upper()):
            assert spelling_in({known}, as_id(form)) == known


@pytest.mark.parametrize("short", ["17", "3137", "anna", "007", 17, "12345678", "3132333435363738"])
def test_a_short_id_has_one_spelling(short: int | str) -> None:
    assert spellings(short) == (short,)
