"""Tables of many kinds, each with the settings that make a run of it, and a digest of the run's own tables."""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymu.core.records import FileRef, SampleFiles
from raymu.service.extension import Extension, WrittenSamples, read_new_samples
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.run import RunStore
from tests.support.examples import make_config

ROWS = 120
Branches = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestCase:
    """A table, and how a run is made of it."""

    table: Callable[[], pa.Table]
    branches: Branches = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `prepare_run`."""
    split_by: str | None = None
    """A column whose values become folders, as Hive writes them."""


def _basic(**columns: Any) -> pa.Table:
    """Return separable samples. `columns` replace some, or are added."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 3, ROWS)
    features = (np.eye(3)[labels] * 4 + random.normal(size=(ROWS, 3))).astype(np.float32)
    table = {
        "id": pa.array(5 + 3 * random.permutation(ROWS)),
        "label": pa.array(labels),
        "features": pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), 3),
        "owner": pa.array([None if number == 0 else f"o{number}" for number in random.integers(0, 30, ROWS)]),
        "risk": pa.array(random.random(ROWS)),
        "unused": pa.array(["x" * 50] * ROWS),
    }
    return pa.table(table | columns)


def _tabular() -> pa.Table:
    random = np.random.default_rng(8)
    colours = np.array(["red", "green ", " blue", None], dtype=object)[random.integers(0, 4, ROWS)]
    days = np.datetime64("2020-01-01") + random.integers(0, 900, ROWS)
    numbers = [None if number < 0.1 else number for number in random.random(ROWS)]
    return _basic(
        features=pa.array(numbers),
        colour=pa.array(colours.tolist()).dictionary_encode(),
        day=pa.array(days),
        is_new=pa.array(random.random(ROWS) > 0.5),
        pair=pa.array(random.random((ROWS, 2)).tolist()),
        unused=pa.array([{"a": 1}] * ROWS),
    )


def _texts(*words: str) -> pa.Array:
    return pa.array([words[number % len(words)] for number in np.random.default_rng(9).integers(0, 99, ROWS)])


def _uuids() -> list[UUID]:
    return [UUID(int=number * 2**90 + 12345) for number in range(ROWS)]


_TABULAR: Branches = {
    "task": {"name": "tabular"},
    "data": {"features": "*", "owner": "owner", "risk": "risk", "classes": None},
}
_OWNERS: Branches = {"data": {"owner": "owner"}}
CASES: dict[str, IngestCase] = {
    "integers": IngestCase(table=_basic, branches={"data": {"owner": "owner", "risk": "risk"}}),
    "policy owner": IngestCase(
        table=lambda: _basic(id=pa.array([f" {identity}".upper() for identity in _uuids()])),
        branches=_OWNERS | {"partition": {"policy": "owner"}},
    ),
    "policy risk": IngestCase(
        table=lambda: _basic(owner=pa.array(np.arange(ROWS) % 7)),
        branches={"data": {"owner": "owner", "risk": "risk"}, "partition": {"policy": "risk"}},
    ),
    "tabular": IngestCase(table=_tabular, branches=_TABULAR),
    "several labels": IngestCase(
        table=lambda: _basic(label=pa.array([["a", "b", "c"][: 1 + number % 3] for number in range(ROWS)])),
        branches={"task": {"name": "tensor", "target": "labels"}, "data": {"classes": None}},
    ),
    "marks": IngestCase(
        table=lambda: _basic(label=pa.array([[number % 2 == 0, number % 3 == 0] for number in range(ROWS)])),
        branches={"task": {"name": "tensor", "target": "labels"}, "data": {"classes": None}},
    ),
    "regression": IngestCase(
        table=lambda: _basic(label=pa.array(np.arange(ROWS) / 7), price=pa.array(np.arange(ROWS) % 5)),
        branches={
            "task": {"name": "tensor", "target": "regression"},
            "data": {"classes": None, "label": ["label", "price"]},
        },
    ),
    "labels of text": IngestCase(
        table=lambda: _basic(label=_texts("fox", "ant ", "dog")), branches={"data": {"classes": None}}
    ),
    "labels of booleans": IngestCase(
        table=lambda: _basic(label=pa.array(np.arange(ROWS) % 3 == 0)), branches={"data": {"classes": None}}
    ),
    "folders": IngestCase(
        table=lambda: _basic(label=_texts("fox", "ant", "dog"), owner=pa.array(np.arange(ROWS) % 4)),
        branches={"data": {"classes": None, "owner": "owner"}},
        split_by="owner",
    ),
    "integers beyond 64 bits": IngestCase(
        table=lambda: _basic(id=pa.array([2**63 - 60 + number for number in range(ROWS)], pa.uint64()))
    ),
    "decimals": IngestCase(table=lambda: _basic(id=pa.array([Decimal(number) for number in range(ROWS)]))),
    "decimals beyond 64 bits": IngestCase(
        table=lambda: _basic(id=pa.array([Decimal(2**63 - 3 + number) for number in range(ROWS)]))
    ),
    "floats": IngestCase(table=lambda: _basic(id=pa.array(np.arange(ROWS).astype(np.float64)))),
    "bytes that spell text": IngestCase(table=lambda: _basic(id=pa.array([b"k%d" % number for number in range(ROWS)]))),
    "16 bytes": IngestCase(
        table=lambda: _basic(
            id=pa.array([identity.bytes for identity in _uuids()]),
            owner=pa.array([bytes([200, number % 9]) for number in range(ROWS)]),
        ),
        branches=_OWNERS,
    ),
    "times": IngestCase(
        table=lambda: _basic(id=pa.array(np.datetime64("2020-01-01T12:00:00", "ms") + np.arange(ROWS) * 1_250))
    ),
    "long texts": IngestCase(
        table=lambda: _basic(id=pa.array([f"{number}".zfill(number + 20) for number in range(ROWS)]))
    ),
    "columns of numbers": IngestCase(
        table=lambda: _basic(features=pa.array(np.arange(ROWS), pa.int16()), other=pa.array(np.arange(ROWS)[::-1] / 3)),
        branches={"data": {"features": ["features", "other"]}},
    ),
    "float64": IngestCase(
        table=lambda: _basic(features=pa.array([[number / 3, number / 7 + 1e9] for number in range(ROWS)]))
    ),
    "bytes as features": IngestCase(
        table=lambda: _basic(
            features=pa.array([[number, 255 - number] for number in range(ROWS)], pa.list_(pa.uint8()))
        ),
        branches={"data": {"normalize": "unit"}},
    ),
    "pictures": IngestCase(
        table=lambda: _basic(
            features=pa.array(
                np.random.default_rng(6).integers(0, 255, (ROWS, 4, 4)).tolist(), pa.list_(pa.list_(pa.uint8()))
            )
        ),
        branches={"task": {"name": "image", "size": 4, "channels": 1}, "data": {"owner": "owner"}},
    ),
    "excluded": IngestCase(
        table=_basic, branches=_OWNERS, options={"exclude": [5, "8", 11], "exclude_owners": ["o3", "o4"]}
    ),
}
"""Name -> case."""


def write_case(
    case: IngestCase, folder: Path, *, pieces: int = 1, row_group: int | None = None, rows: slice = slice(None)
) -> str:
    """Write the table of a case, or some of its rows, as so many files of nearly equal size. Returns their location."""
    table = case.table()[rows]
    if case.split_by is not None:
        for value in table[case.split_by].unique().to_pylist():
            rows = table.filter(pa.compute.equal(table[case.split_by], value)).drop_columns(case.split_by)
            _write(rows, folder / f"{case.split_by}={value}", pieces, row_group)
    else:
        _write(table, folder, pieces, row_group)
    return str(folder)


def _write(table: pa.Table, folder: Path, pieces: int, row_group: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, len(table), pieces + 1).astype(int)
    for number, (start, stop) in enumerate(itertools.pairwise(bounds.tolist())):
        pq.write_table(
            table.slice(start, stop - start), folder / f"part-{number:03d}.parquet", row_group_size=row_group
        )


def config_of(case: IngestCase, location: str) -> Any:
    """Return the settings of a case's run, with two shards of two slices."""
    partition = {"shards": 2, "slices": 2, **case.branches.get("partition", {})}
    return make_config(location, **case.branches | {"partition": partition})


def run_digest(location: str, *, data: str) -> str:
    """Return a digest of all values, types and metadata of a run's own tables, and of what its manifest says of them."""
    store = RunStore(location)
    manifest = store.manifest
    facts = [
        [line.replace(data, "DATA") for line in manifest.conversions if not line.endswith("files are one table")],
        manifest.input_shape,
        manifest.classes,
        manifest.class_names,
        manifest.columns,
        dict(manifest.column_kinds),
        manifest.has_integer_ids,
    ]
    digest = hashlib.sha256(json.dumps(facts, default=str).encode())
    _add_tables(digest, store, manifest.tables)
    return digest.hexdigest()[:16]


def _add_tables(digest: Any, store: RunStore, tables: Sequence[FileRef]) -> None:
    for ref in tables:
        table = store.samples.read_table(ref)
        digest.update(f"{table.schema.to_string(show_schema_metadata=True)}{table.to_pydict()}".encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Extended:
    """The files of a run after samples were added to it, which nothing was trained on."""

    written: WrittenSamples
    digest: str
    """Of all values, types and metadata of its tables, and of what is said of the extension."""


def extend_untrained(location: str, data: str, *, is_described: bool = True, **options: Any) -> Extended:
    """Add the samples of some files to a run that was created and not trained.

    Args:
        location: The run.
        data: The files.
        is_described: Whether the digest is wanted, for which all is read.
        options: Fields of `Extension`.
    """
    store = RunStore(location)
    manifest = store.manifest
    indexes = manifest.indexes or (None,) * len(manifest.tables)
    files = [SampleFiles(table=table, index=index) for table, index in zip(manifest.tables, indexes, strict=True)]
    with closing(store.journal(is_read_only=True)) as journal:
        epochs = (1,) * store.config.partition.slices
        samples = SampleIndex(store, files.__getitem__)
        extension = Extension(data=data, **options)
        with closing(read_new_samples(store, extension, manifest.tables, epochs, journal, samples)) as new:
            written = new.write(store, files)
    if not is_described:
        return Extended(written=written, digest="")
    conversions = [line.replace(data, "DATA") for line in new.conversions if not line.endswith("files are one table")]
    facts = [new.slice_samples, new.epochs, new.left_out, new.samples, conversions]
    digest = hashlib.sha256(json.dumps(facts).encode())
    _add_tables(digest, store, [each.table for each in written.samples])
    return Extended(written=written, digest=digest.hexdigest()[:16])
