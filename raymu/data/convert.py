"""Conversion of public data sets' formats to the Parquet file that raymu trains from: columns id, label and features.

MNIST (LeCun et al., 1998): https://ossci-datasets.s3.amazonaws.com/mnist/, images train-images-idx3-ubyte.gz with labels
train-labels-idx1-ubyte.gz, and the same of t10k; or Keras' mnist.npz, arrays x_train with y_train, x_test with y_test.
Fashion-MNIST (Zalando Research, MIT): https://github.com/zalandoresearch/fashion-mnist, in data/fashion, files of the same
names.
Statlog Shuttle (CC BY 4.0): https://archive.ics.uci.edu/dataset/148/statlog+shuttle, shuttle.trn, unpacked with uncompress,
and shuttle.tst; without a header, the label in the last column, and labels from 1.
Letter Recognition (CC BY 4.0): https://archive.ics.uci.edu/dataset/59/letter+recognition, letter-recognition.data; without
a header, the label in the first column. raymu ships it.
"""

import gzip
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from raymu.data.arrow_source import arrow_reader
from raymu.errors import DataInvalid
from raymu.input_file import read_input
from raymu.output_file import atomic_write, check_output_path
from raymu.text import one_line

Values = npt.NDArray[Any]

_NEGLIGIBLE = 1e-4
"""Largest error of rounding features to float32, in standard deviations: otherwise they are kept in float64."""
_GZIP, _ZIP, _BOM = b"\x1f\x8b", b"PK\x03\x04", b"\xef\xbb\xbf"
_IDX_TYPES: Mapping[int, str] = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """The facts that a file does not contain."""

    labels: str | None = None
    """The file of the labels, for IDX."""
    features: str | None = None
    """Name of the array of features, for NPZ."""
    label: str | None = None
    """Name of the array of labels, for NPZ. For CSV the name of a column, or its index (1 is the first, -1 the last)."""
    id: str | None = None
    """Column of the ids, as for `label`, for CSV. Without it, rows are numbered."""
    owner: str | None = None
    """Column of the owners, as for `label`, for CSV. Without it, a column called owner, if there is one."""
    first_id: int = 0
    """Number of the first row."""
    first_label: int = 0
    """The lowest label, which becomes 0."""
    classes: tuple[str, ...] = ()
    """Labels that are text, in the order of their numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionResult:
    """A conversion that is done."""

    samples: int
    features: int
    """Number of features of each sample."""
    classes: tuple[str, ...]
    """Labels that are text, in the order of their numbers."""
    owner: str | None = None
    """The column of the owners, which is called owner in the result; None without owners."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Columns:
    """The columns of a file, unchecked."""

    features: Values
    """(samples, *shape)."""
    labels: Values
    """(samples,)."""
    ids: Values | None = None
    owner: str | None = None
    """Name of the column of the owners."""
    owners: pa.ChunkedArray | None = None
    """(samples,) integers or strings, some of them missing."""
    """(samples,)."""


def import_samples(source: str, out: str, options: ImportOptions) -> ConversionResult:
    """Convert an IDX, NPZ or CSV file, plain or gzipped, to Parquet. The format is recognised by the content.

    Features become one flat list per sample: of bytes if all are whole and from 0 to 255, of float32 otherwise.

    Args:
        source: The file to convert.
        out: The Parquet file to write.
        options: What the file does not say by itself.

    Raises:
        DataInvalid: The file cannot be converted; nothing is written.
        RequestInvalid: `out` cannot be written.
    """
    if not out.endswith(".parquet"):
        raise DataInvalid(out, "is not a name for the result; name a .parquet file")
    check_output_path(out, reads={"what is imported": source, "the file of its labels": options.labels})
    payload = _unpacked(source)
    columns = next(read for fits, read in _FORMATS.items() if fits(payload))(source, payload, options)
    samples = len(columns.labels)
    if len(columns.features) != samples or not samples:
        raise DataInvalid(source, f"has {len(columns.features)} samples and {samples} labels; each sample needs one")
    if not columns.features.size:
        raise DataInvalid(source, "has samples without features; give those that have some")
    features = _as_features(source, columns.features.reshape(samples, -1))
    labels, classes = _as_labels(source, columns.labels, options)
    ids = np.arange(samples) + options.first_id if columns.ids is None else columns.ids
    if len(np.unique(ids)) < samples:
        raise DataInvalid(source, f"ids in column {options.id} are not unique; leave --id out to number the rows")
    listed = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), features.shape[1])
    table = pa.table({"id": pa.array(ids), "label": pa.array(labels), "features": listed})
    _write(table if columns.owners is None else table.append_column("owner", columns.owners), out)
    return ConversionResult(samples=samples, features=features.shape[1], classes=classes, owner=columns.owner)


def _unpacked(source: str) -> bytes:
    try:
        payload = read_input(source)
        return gzip.decompress(payload) if payload.startswith(_GZIP) else payload
    except (OSError, EOFError, zlib.error) as error:
        raise DataInvalid(source, f"cannot be read ({one_line(error)})") from error


def _read_idx(source: str, payload: bytes, options: ImportOptions) -> _Columns:
    """Read the format of MNIST: big-endian sizes, then the values."""
    if options.labels is None:
        raise DataInvalid(source, "is an IDX file, which has no labels; name the file that has them with --labels-file")
    labels = _idx_array(options.labels, _unpacked(options.labels))
    if labels.ndim != 1:
        raise DataInvalid(options.labels, f"has values of shape {labels.shape}, not one label for each sample")
    return _Columns(features=_idx_array(source, payload), labels=labels)


def _idx_array(source: str, payload: bytes) -> Values:
    kind = _IDX_TYPES.get(payload[2]) if payload[:2] == b"\0\0" and len(payload) > 4 else None
    if kind is None:
        raise DataInvalid(source, "is not an IDX file; name one such as train-labels-idx1-ubyte.gz")
    start = 4 + 4 * payload[3]
    if start <= len(payload):
        shape = struct.unpack(f">{payload[3]}I", payload[4:start])
        if len(payload) - start == math.prod(shape) * np.dtype(kind).itemsize and shape:
            return np.frombuffer(payload, dtype=kind, offset=start).reshape(shape)
    raise DataInvalid(source, f"has {len(payload)} bytes, not what its header says: it is cut off or damaged")


def _read_npz(source: str, payload: bytes, options: ImportOptions) -> _Columns:
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            present = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DataInvalid(source, f"is not an NPZ file of plain arrays ({one_line(error)})") from error
    names = options.features or "features", options.label or "label"
    if not set(names) <= present.keys():
        raise DataInvalid(source, f"has arrays {', '.join(present)}; name two of them with --features and --label")
    features, labels = (present[name] for name in names)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not features.ndim:
        raise DataInvalid(source, f"has labels of shape {labels.shape}, not one label for each sample")
    return _Columns(features=features, labels=labels)


def _read_csv(source: str, payload: bytes, options: ImportOptions) -> _Columns:
    payload = payload.removeprefix(_BOM)
    first = payload.split(b"\n", 1)[0]
    delimiter = next((mark for mark in (b",", b";", b"\t") if mark in first), None)
    if delimiter is None:  # columns are separated by blanks
        payload = b"\n".join(b",".join(line.split()) for line in payload.splitlines())
    cells = payload.split(b"\n", 1)[0].split(delimiter or b",")
    has_header = not any(_is_number(cell) for cell in cells)
    try:
        table = pyarrow.csv.read_csv(
            arrow_reader(payload),
            read_options=pyarrow.csv.ReadOptions(autogenerate_column_names=not has_header),
            parse_options=pyarrow.csv.ParseOptions(delimiter=(delimiter or b",").decode()),
        )
    except (pa.ArrowException, ValueError) as error:
        raise DataInvalid(source, f"is neither IDX, NPZ nor CSV ({one_line(error)})") from error
    names = table.column_names
    label = _column(source, names, options.label or "label", "--label")
    chosen = [label] if options.id is None else [label, _column(source, names, options.id, "--id")]
    owner = _owner_column(source, names, chosen, options)
    others = [name for name in names if name not in (*chosen, owner)]
    for name in others:
        kind = table[name].type
        if table[name].null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise DataInvalid(
                source,
                f"column {name} is not all numbers; fill it, take it out of the file, or name it with --id if it has the ids",
            )
    if not others or table[label].null_count:
        raise DataInvalid(source, "has samples without a label, or without features")
    labels, *ids = (table[name].to_numpy() for name in chosen)
    features = np.stack([table[name].to_numpy() for name in others], axis=1)
    owners = None if owner is None else _owners(source, owner, table[owner])
    return _Columns(features=features, labels=labels, ids=ids[0] if ids else None, owner=owner, owners=owners)


def _owner_column(source: str, names: list[str], chosen: list[str], options: ImportOptions) -> str | None:
    """Return the column of the owners: the one that is named, or the one called owner. It is never a feature."""
    if options.owner is not None:
        owner = _column(source, names, options.owner, "--owner")
        if owner in chosen:
            raise DataInvalid(source, f"column {owner} cannot be both the owner and the label or the id; name another")
        return owner
    return "owner" if "owner" in names and "owner" not in chosen else None


def _owners(source: str, name: str, owners: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return owners as training takes them: integers or strings."""
    if not (pa.types.is_integer(owners.type) or pa.types.is_string(owners.type)):
        raise DataInvalid(source, f"owners in column {name} are {owners.type}; they must be integers or text")
    return owners


def _column(source: str, names: list[str], key: str, option: str) -> str:
    """Find a column by its name, or by its index from 1, or from -1 backwards."""
    if key in names:
        return key
    if re.fullmatch(r"-?[1-9]\d*", key) and abs(int(key)) <= len(names):
        return names[int(key) - 1 if int(key) > 0 else int(key)]
    raise DataInvalid(
        source,
        f"has no column {key}, but {len(names)} such as {', '.join(names[:3])}; give a name or a number with {option} "
        "(1 is the first, -1 the last)",
    )


def _as_features(source: str, features: Values) -> Values:
    if features.dtype.kind not in "biuf":
        raise DataInvalid(source, f"features are {features.dtype}; they must be numbers")
    if features.dtype.kind in "biu" and features.min() >= 0 and features.max() <= 255:
        return features.astype(np.uint8)
    with np.errstate(over="ignore"):
        floats = features.astype(np.float32)
    if not np.isfinite(floats).all():
        raise DataInvalid(source, "has NaN or infinite features; mend or drop those rows")
    exact = features.astype(np.float64)
    error = np.abs(floats - exact).max(axis=0)
    return exact if (error > _NEGLIGIBLE * exact.std(axis=0)).any() else floats


def _as_labels(source: str, labels: Values, options: ImportOptions) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Return class numbers from 0, and the names of the classes if labels are text."""
    if labels.dtype.kind in "OU":
        classes = options.classes or tuple(sorted(set(labels.tolist())))
        numbers = {name: number for number, name in enumerate(classes)}
        unknown = sorted(set(labels.tolist()) - numbers.keys())
        if unknown:
            raise DataInvalid(
                source, f"a label is {unknown[0]!r}, which is not one of the classes; add it to --classes"
            )
        return np.array([numbers[label] for label in labels.tolist()], dtype=np.int64), classes
    if labels.dtype.kind not in "iu":
        raise DataInvalid(source, f"labels are {labels.dtype}; they must be whole numbers, or text")
    numbered = labels.astype(np.int64) - options.first_label
    if numbered.min() < 0:
        raise DataInvalid(source, f"a label is {labels.min()}, below --first-label {options.first_label}; lower it")
    return numbered, ()


def _write(table: pa.Table, out: str) -> None:
    try:
        with atomic_write(out) as partial:
            pq.write_table(table, partial, compression="zstd")
    except OSError as error:
        raise DataInvalid(out, f"cannot be written ({one_line(error)})") from error


def _is_number(cell: bytes) -> bool:
    try:
        float(cell.strip(b'" \r'))
    except ValueError:
        return False
    return True


_FORMATS: Mapping[Callable[[bytes], bool], Callable[[str, bytes, ImportOptions], _Columns]] = {
    (lambda payload: payload.startswith(_ZIP)): _read_npz,
    (lambda payload: payload.startswith(b"\0\0")): _read_idx,
    (lambda _payload: True): _read_csv,
}
