"""Placing the samples of one part of a table: they are checked, converted, and given their homes, without the other parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import PartitionConfig
from raymu.config.data import NormalizeSetting
from raymu.core.arrays import Targets
from raymu.core.partition import Hashes, Indices, homes_of_hashes
from raymu.core.records import SampleId
from raymu.data.arrow_buffers import to_arrow
from raymu.data.columns import kept_features
from raymu.data.id_hashes import array_hashes, canonical_keys, sample_hashes
from raymu.data.rows import Columns, Rows
from raymu.data.run_table import in_types_of, own_table
from raymu.data.shard_rows import HASH, stable_order
from raymu.data.table_batches import Findings, SampleBatch, Step, read_batch
from raymu.data.table_reading import TableReading
from raymu.data.tables import require_shape
from raymu.errors import DataInvalid
from raymu.service.known_revocations import KnownRevocations
from raymu.training.row_checks import check_task_rows

if TYPE_CHECKING:  # workers that place samples do without PyTorch
    from raymu.training.spec import TrainingSpec
    from raymu.training.tasks import Task


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldForm:
    """The form in which a run holds its samples, for samples that are added to it."""

    schema: pa.Schema
    """The columns of its tables."""
    input_shape: tuple[int, ...]
    """Shape of one sample's features, if they are arrays."""
    first: int
    """Index of the first slice that is added."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How samples are placed. It is the same for all parts of a table, and travels to other processes."""

    reading: TableReading
    partition: PartitionConfig
    """How they are spread; over the added slices alone, if samples are added to a run."""
    normalize: NormalizeSetting
    ids: frozenset[SampleId] = frozenset()
    """All spellings of the samples that are left out."""
    owners: frozenset[str] = frozenset()
    """All spellings of the owners whose samples are left out."""
    revoked_by: Sequence[KnownRevocations] = ()
    """The revocations of this run and others, whose samples are left out."""
    refused: Sequence[KnownRevocations] = ()
    """Revocations whose samples are counted, since the table is refused if there are any."""
    held: HeldForm | None = None
    """The form of the run that samples are added to; None for a new run."""
    spec: "TrainingSpec | None" = None
    """The settings of the training, for a task that checks its rows; None for one that accepts all, and for arrays."""

    @cached_property
    def task(self) -> "Task | None":
        """The task that checks rows. Raises ConfigInvalid."""
        return None if self.spec is None else self.spec.build_task()

    @property
    def task_name(self) -> str:
        """What messages call the task."""
        return "" if self.spec is None else str(self.spec.task)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NamedRow:
    """A row that may be left out, by its id or by its owner."""

    sample_id: SampleId
    owner: str | None
    is_revoked: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlacedBatch:
    """The samples of one part of a table, as the run's tables have them, and what is known of the part."""

    findings: Findings
    rows: pa.Table | None = None
    """The samples that were never revoked, with their hashes; None if something is wrong with the part."""
    shards: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Shard of each of these rows."""
    keys: Hashes = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    """A hash of each id of the part, the same for all spellings of one."""
    counts: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Samples in each shard, those that are left out too."""
    lowest: Targets | None = None
    """(shards, outputs) the lowest label, or target, of each shard, in those that have samples."""
    highest: Targets | None = None
    named: tuple[NamedRow, ...] = ()
    """Samples that may be left out."""
    revoked: int = 0
    """Samples that were revoked, and are left out."""
    refused: tuple[int, ...] = ()
    """Samples for which the table is refused, by each of `Placement.refused`."""
    head: Rows | None = None
    """The first samples, as the table has them."""
    kept: Rows | None = None
    """The first samples that are not left out, as the run keeps them."""
    kept_labels: Targets | None = None


def place_batch(placement: Placement, table: pa.Table, *, head: int = 0, kept: int = 0) -> PlacedBatch:
    """Read, check and place one part of a table. Nothing depends on the other parts.

    Args:
        placement: How samples are placed.
        table: The rows, with the columns of `placement.reading.columns`.
        head: Samples to return as the table has them.
        kept: Samples to return as the run keeps them.
    """
    batch, findings = read_batch(placement.reading, table)
    if batch is None:
        return PlacedBatch(findings=findings)
    if placement.task is not None and isinstance(batch.features, Columns):
        check_task_rows(placement.task, batch.features, name=placement.task_name, source=placement.reading.source)
    partition = placement.partition
    place, hashes = sample_hashes(batch.ids, batch.owners, partition)
    shards, slices = homes_of_hashes(place, partition, risks=batch.risks)
    owners = None if batch.owners is None else batch.owners.cast(pa.string())
    features = batch.features
    if not isinstance(features, Columns):
        features = kept_features(features, placement.normalize)
    first = 0 if placement.held is None else placement.held.first
    rows = own_table(ids=batch.ids, features=features, labels=batch.labels, slices=slices + first, owners=owners)
    if placement.held is not None:
        try:
            rows = _as_held(placement.held, rows, features, source=placement.reading.source)
        except DataInvalid as error:
            findings.problems[Step.FEATURES] = error.problem
            return PlacedBatch(findings=findings)
    rows = rows.append_column(HASH, to_arrow(hashes))
    is_revoked = _revoked(placement.revoked_by, batch)
    refused = tuple(int(_revoked([known], batch).sum()) for known in placement.refused)
    is_named = _named(placement, batch.ids, owners)
    numbers = np.flatnonzero(is_named)
    named_owners = [None] * len(numbers) if owners is None else owners.take(to_arrow(numbers)).to_pylist()
    named = tuple(
        NamedRow(sample_id=sample_id, owner=owner, is_revoked=bool(revoked))
        for sample_id, owner, revoked in zip(
            batch.ids.take(to_arrow(numbers)).to_pylist(), named_owners, is_revoked[numbers], strict=True
        )
    )
    free = np.flatnonzero(~(is_named | is_revoked))[:kept]
    is_held = ~is_revoked
    lowest, highest = _extremes(batch.labels, shards, partition.shards)
    return PlacedBatch(
        findings=findings,
        rows=rows if is_held.all() else rows.filter(to_arrow(is_held)),
        shards=shards[is_held],
        keys=_keys(batch.ids, hashes, partition),
        counts=np.bincount(shards, minlength=partition.shards),
        lowest=lowest,
        highest=highest,
        named=named,
        revoked=int(is_revoked.sum()),
        refused=refused,
        head=batch.features[:head],
        kept=features[free],
        kept_labels=batch.labels[free],
    )


def _as_held(held: HeldForm, rows: pa.Table, features: Rows, *, source: str) -> pa.Table:
    """Return new samples in the form of a run. Raises DataInvalid."""
    require_shape(source, features, held.input_shape)
    return in_types_of(source, rows, held.schema)


def _keys(ids: pa.Array, hashes: Hashes, partition: PartitionConfig) -> Hashes:
    keys = canonical_keys(ids)
    return hashes if keys is ids else array_hashes(keys, seed=partition.seed, purpose="sample")


def _revoked(revoked_by: Sequence[KnownRevocations], batch: SampleBatch) -> npt.NDArray[np.bool_]:
    is_revoked = np.zeros(len(batch.ids), dtype=bool)
    if revoked_by:
        ids = batch.ids.to_pylist()
        owners = [None] * len(ids) if batch.owners is None else batch.owners.to_pylist()
        for known in revoked_by:
            is_revoked |= known.rows(ids, owners)
    return is_revoked


def _named(placement: Placement, ids: pa.Array, owners: pa.Array | None) -> npt.NDArray[np.bool_]:
    is_named = np.zeros(len(ids), dtype=bool)
    for values, names in ((ids, placement.ids), (owners, placement.owners)):
        if values is not None and names:
            fitting = [name for name in names if isinstance(name, int) == pa.types.is_integer(values.type)]
            is_named |= pc.is_in(values, value_set=pa.array(fitting, values.type)).to_numpy(zero_copy_only=False)
    return is_named


def _extremes(labels: Targets, shards: Indices, count: int) -> tuple[Targets, Targets]:
    """Return the lowest and the highest label in each shard, column by column: (shards, outputs)."""
    order = stable_order(shards)
    columns = labels.reshape(len(labels), -1)[order]
    held = np.bincount(shards, minlength=count)
    present = np.flatnonzero(held)
    starts = (np.cumsum(held) - held)[present]
    least, most = (
        (np.iinfo(columns.dtype).max, np.iinfo(columns.dtype).min) if columns.dtype.kind == "i" else (np.inf, -np.inf)
    )
    lowest = np.full((count, columns.shape[1]), least, dtype=columns.dtype)
    highest = np.full((count, columns.shape[1]), most, dtype=columns.dtype)
    lowest[present] = np.minimum.reduceat(columns, starts)
    highest[present] = np.maximum.reduceat(columns, starts)
    return lowest, highest
