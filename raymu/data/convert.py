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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raymu.data.arrow_values import INTEGER_TEXT
from raymu.data.csv_table import read_csv_table
from raymu.data.values import sample_ids
from raymu.errors import DataInvalid
from raymu.input_file import read_input
from raymu.output_file import atomic_write, check_output_path, require_ending
from raymu.text import one_line

Values = npt.NDArray[Any]

_NEGLIGIBLE = 1e-4
"""Largest error of rounding features to float32, in standard deviations: otherwise they are kept in float64."""
_GZIP, _ZIP, _PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"
_MOST_DIMENSIONS = 64
"""Most dimensions of an array of NumPy's."""
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
    has_header: bool | None = None
    """For CSV: whether the first line has the names of the columns; None recognises it."""
    first_id: int = 0
    """Number of the first row."""
    first_label: int = 0
    """The lowest label, which becomes 0."""
    classes: tuple[str, ...] = ()
    """Labels that are text, in the order of their numbers."""
    keeps_columns: bool = False
    """For CSV: whether columns are kept as they are, with words, dates and gaps."""


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
    notes: tuple[str, ...] = ()
    """What was recognised in a CSV file, for people."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Columns:
    """The columns of a file, unchecked."""

    features: Values
    """(samples, *shape)."""
    labels: Values
    """(samples,)."""
    ids: Values | None = None
    """(samples,)."""
    owner: str | None = None
    """Name of the column of the owners."""
    owners: pa.ChunkedArray | None = None
    """(samples,) integers or strings, some of them missing."""
    notes: tuple[str, ...] = ()
    """What was recognised, for people."""


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
    require_ending(out, (".parquet", ".parq", ".pq"))
    check_output_path(out, reads={"what is imported": source, "the file of its labels": options.labels})
    payload = _unpacked(source)
    if options.keeps_columns:
        return _import_columns(source, payload, out, options)
    columns = next(read for fits, read in _FORMATS.items() if fits(payload))(source, payload, options)
    samples = len(columns.labels)
    if len(columns.features) != samples or not samples:
        raise DataInvalid(source, f"has {len(columns.features)} samples and {samples} labels; each sample needs one")
    if not columns.features.size:
        raise DataInvalid(source, "has samples without features; give those that have some")
    features = _as_features(source, columns.features.reshape(samples, -1))
    labels, classes = _as_labels(source, columns.labels, options)
    if columns.ids is None and not -(2**63) <= options.first_id <= 2**63 - samples:
        raise DataInvalid(source, f"has {samples} samples, whose numbers from {options.first_id} do not fit 64 bits")
    ids = (
        np.arange(options.first_id, options.first_id + samples, dtype=np.int64) if columns.ids is None else columns.ids
    )
    if len(np.unique(ids)) < samples:
        raise DataInvalid(source, f"ids in column {options.id} are not unique; leave --id out to number the rows")
    listed = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), features.shape[1])
    table = pa.table({"id": pa.array(ids), "label": pa.array(labels), "features": listed})
    _write(table if columns.owners is None else table.append_column("owner", columns.owners), out)
    return ConversionResult(
        samples=samples, features=features.shape[1], classes=classes, owner=columns.owner, notes=columns.notes
    )


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
    if kind is not None and payload[3] > _MOST_DIMENSIONS:
        raise DataInvalid(source, f"has {payload[3]} dimensions; give an array of {_MOST_DIMENSIONS} or fewer")
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
    if payload.startswith(_PARQUET):
        raise DataInvalid(source, "is a Parquet file, which raymu trains from as it is; name it in data.train")
    csv_table = read_csv_table(source, payload, has_header=options.has_header)
    table, names = csv_table.table, csv_table.table.column_names
    label = _column(source, names, options.label or "label", "--label")
    id_column = None if options.id is None else _column(source, names, options.id, "--id")
    chosen = [name for name in (label, id_column) if name is not None]
    owner = _owner_column(source, names, chosen, options)
    others = [name for name in names if name not in (*chosen, owner)]
    for name in others:
        kind = table[name].type
        if table[name].null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise DataInvalid(
                source,
                f"column {name} is not all numbers; keep words and gaps with --columns, for task: tabular, or fill "
                "it, take it out of the file, or name it with --id if it has the ids",
            )
    if not others or table[label].null_count:
        raise DataInvalid(source, "has samples without a label, or without features")
    ids = None if id_column is None else sample_ids(source, id_column, _whole(csv_table.text_of(id_column))).values
    return _Columns(
        features=np.stack([table[name].to_numpy() for name in others], axis=1),
        labels=table[label].to_numpy(),
        ids=ids,
        owner=owner,
        owners=None if owner is None else _whole(csv_table.text_of(owner)),
        notes=csv_table.notes,
    )


def _import_columns(source: str, payload: bytes, out: str, options: ImportOptions) -> ConversionResult:
    """Convert a CSV file with its columns as they are, for the task `tabular`."""
    if payload.startswith((_PARQUET, _ZIP, b"\0\0")):
        raise DataInvalid(source, "is no CSV file; --columns belongs to CSV")
    if options.classes or options.first_label:
        raise DataInvalid(source, "keeps its labels as they are with --columns; leave --classes and --first-label out")
    csv_table = read_csv_table(source, payload, has_header=options.has_header)
    table, names = csv_table.table, csv_table.table.column_names
    label = _column(source, names, options.label or "label", "--label")
    id_column = None if options.id is None else _column(source, names, options.id, "--id")
    chosen = [name for name in (label, id_column) if name is not None]
    owner = _owner_column(source, names, chosen, options)
    features = [name for name in names if name not in (*chosen, owner)]
    taken = sorted({"id", "label", *(["owner"] if owner else [])} & set(features))
    if taken:
        raise DataInvalid(source, f"has a column {taken[0]} beside the one that is named for it; rename or drop it")
    samples = table.num_rows
    if not features or not samples or table[label].null_count:
        raise DataInvalid(source, "has samples without a label, or without features")
    if id_column is None:
        if not -(2**63) <= options.first_id <= 2**63 - samples:
            raise DataInvalid(
                source, f"has {samples} samples, whose numbers from {options.first_id} do not fit 64 bits"
            )
        ids: Values = np.arange(options.first_id, options.first_id + samples, dtype=np.int64)
    else:
        ids = sample_ids(source, id_column, _whole(csv_table.text_of(id_column))).values
    if len(np.unique(ids)) < samples:
        raise DataInvalid(source, f"ids in column {options.id} are not unique; leave --id out to number the rows")
    columns = {"id": pa.array(ids), "label": table[label]} | {name: table[name] for name in features}
    if owner is not None:
        columns["owner"] = _whole(csv_table.text_of(owner))
    _write(pa.table(columns), out)
    notes = (*csv_table.notes, "columns are kept as they are; train with task=tabular")
    return ConversionResult(samples=samples, features=len(features), classes=(), owner=owner, notes=notes)


def _whole(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text as integers if each is written as one."""
    is_whole = pc.all(pc.match_substring_regex(pc.fill_null(texts, ""), f"^({INTEGER_TEXT})$")).as_py()
    return texts.cast(pa.int64()) if is_whole else texts


def _owner_column(source: str, names: list[str], chosen: list[str], options: ImportOptions) -> str | None:
    """Return the column of the owners: the one that is named, or the one called owner. It is never a feature."""
    if options.owner is not None:
        owner = _column(source, names, options.owner, "--owner")
        if owner in chosen:
            raise DataInvalid(source, f"column {owner} cannot be both the owner and the label or the id; name another")
        return owner
    return "owner" if "owner" in names and "owner" not in chosen else None


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
    if labels.dtype.kind == "b":
        labels = labels.astype(str)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
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
    if options.first_label == 0 and labels.dtype.kind == "i":
        return labels.astype(np.int64), ()  # a run keeps a table of other numbers than those from 0
    if not -(2**31) < options.first_label < 2**31 or labels.max() > 2**62:
        raise DataInvalid(source, f"labels from {options.first_label} do not fit 64 bits; give another --first-label")
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


_FORMATS: Mapping[Callable[[bytes], bool], Callable[[str, bytes, ImportOptions], _Columns]] = {
    (lambda payload: payload.startswith(_ZIP)): _read_npz,
    (lambda payload: payload.startswith(b"\0\0")): _read_idx,
    (lambda _payload: True): _read_csv,
}
