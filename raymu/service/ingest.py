"""Makes a run from the user's table, which is checked completely before anything is written."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.config import Config, PartitionConfig
from raymu.config.data import ALL_COLUMNS, NormalizeSetting
from raymu.core.partition import Indices, homes, identity_hashes
from raymu.core.records import SampleId
from raymu.core.trust import EVERYTHING
from raymu.data.columns import kept_features
from raymu.data.frames import TableData, source_of
from raymu.data.ids import as_sample_ids
from raymu.data.rows import Columns, Rows
from raymu.data.run_table import from_arrow, to_arrow
from raymu.data.sample_form import SampleForm
from raymu.data.spellings import spelling_in
from raymu.data.table_files import require_no_secret
from raymu.data.tables import SampleTable, TrainingTable, read_test_data, read_training_table
from raymu.data.values import as_id
from raymu.errors import (
    ConfigInvalid,
    DataInvalid,
    RaymuError,
    RequestInvalid,
    StorageFailed,
    UnknownOwner,
    UnknownSamples,
)
from raymu.service.held_out import held_out_table
from raymu.service.known_revocations import KnownRevocations
from raymu.service.phase import PROBING, begin_phase
from raymu.store.journal.fencing import check_journal_access
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from raymu.text import one_line, plural
from raymu.training.checks import check_repeatable, check_rows, check_training, example_inputs, with_inputs
from raymu.training.code_record import record_code
from raymu.training.normalizer import PIXELS
from raymu.training.probe import few_samples
from raymu.training.spec import TrainingSpec
from raymu.training.tasks import columns_of_factory

_SHOWN = 8
"""Shards that a line names."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedRun:
    """A run that is checked but not written yet."""

    store: RunStore
    manifest: RunManifest
    table: SampleTable
    shards: Indices
    """Shard of each row of the table."""
    slices: Indices
    """Slice of each row of the table."""
    held_out: pa.Table | None
    """The samples that every shard is validated on; None without validation."""
    base: bytes | None
    """The file of the weights that all shards begin with; None without any."""
    new_folders: tuple[Path, ...]
    """Folders that writing creates, the run's own first."""
    left_out: int = 0
    """Number of samples that other runs revoked."""

    def write(self) -> None:
        """Write the run's copy of the samples, shard by shard. Raises StorageFailed, after removing what was written."""
        partition = Config.parse(self.manifest.config).partition
        try:
            tables = shard_tables(self.table, self.shards, self.slices, partition)
            self.store.create(self.manifest, tables, held_out=self.held_out, base=self.base)
        except StorageFailed:
            self.remove()
            raise

    def remove(self) -> None:
        """Delete the run's files and its rows in the journal's database."""
        with suppress(RaymuError):  # the database may be what failed
            self.store.fencing.remove(self.manifest)
        self.store.remove(self.new_folders)


def prepare_run(
    config: Config,
    location: str,
    data: TableData | None = None,
    *,
    exclude: Collection[SampleId] = (),
    exclude_owners: Collection[SampleId] = (),
    revoked_by: Sequence[RunStore] = (),
    inexact: bool = False,
) -> PreparedRun:
    """Read the training data, check it with the configuration, and choose the home of every sample.

    Args:
        config: The settings of the new run.
        location: An empty or missing directory, as a path or a URI.
        data: The samples; None reads the files of `data.train`.
        exclude: Samples to leave out of the run. They are checked like all others.
        exclude_owners: Owners whose samples are left out too.
        revoked_by: Runs whose revoked samples and owners are left out too.
        inexact: Accept a training whose bits cannot be repeated. The run says why, and nothing about it is exact then.

    Raises:
        RaymuError: DataInvalid, ConfigInvalid, RequestInvalid, UnknownSamples, UnknownOwner, RunInvalid or StorageFailed.
    """
    store = RunStore(location, trust=EVERYTHING)  # the settings are the caller's own
    store.require_empty()
    require_no_secret(config.data.test or "")
    source = training_data(config) if data is None else data
    form = sample_form(config)
    training = read_training_table(source, config.data, form, is_wide=True)
    table, classes = training.samples, training.classes
    if isinstance(table.features, Columns):
        form = replace(form, columns=table.features.names, kinds=training.kinds)
        if config.data.features == ALL_COLUMNS:
            config = replace(config, data=replace(config.data, features=table.features.names))
    table = replace(table, features=kept_rows(table.features, config.data.normalize))
    plan = with_inputs(plan_training(config, training, table, source_of(source)), training.samples.features)
    plan, base = plan.with_base()
    if config.data.track_accuracy:
        read_test_data(config.data, classes, plan.input_shape, form)
    shards, slices = sample_homes(table, config.partition)
    _check_shards(config, table, shards, source_of(source))
    single = _shards_of_one_class(table, shards, config.partition.shards)
    is_excluded = _excluded(table, exclude) | _owned(table, exclude_owners)
    is_revoked = _revoked(table, revoked_by)
    kept = np.flatnonzero(~(is_excluded | is_revoked))
    if is_revoked.any() and not len(kept):
        raise DataInvalid(source_of(source), "has no samples left: other runs revoked them, by id or by owner")
    held_out = held_out_table(config, classes, form, input_shape=plan.input_shape, trained_on=table.ids[kept].tolist())
    if held_out is not None:
        check_rows(plan, from_arrow(held_out)[0].features, source="validation.data")
    begin_phase(PROBING)
    has_batch_norm = _check_model(plan)
    differences = check_repeatable(plan, few_samples(table.features[kept], table.labels[kept]), is_accepted=inexact)
    check_journal_access(store.files, config)
    return PreparedRun(
        store=store,
        manifest=RunManifest(
            config=config.tree(),
            input_shape=plan.input_shape,
            columns=form.columns,
            column_kinds=plan.column_kinds,
            inputs=plan.inputs,
            classes=classes.count,
            class_names=classes.names,
            conversions=(*training.conversions, *_standardised_integers(plan, training.samples.features), *single),
            has_integer_inputs=plan.takes_integers,
            has_integer_ids=table.ids.dtype.kind == "i",
            has_batch_norm=has_batch_norm,
            created_at=datetime.now(UTC),
            raymu_version=version("raymu"),
            inexact=differences,
            code=record_code(plan),
        ),
        table=table.take(kept),
        shards=shards[kept],
        slices=slices[kept],
        held_out=held_out,
        base=base,
        new_folders=store.files.missing_folders(),
        left_out=int(is_revoked.sum()),
    )


def sample_homes(table: SampleTable, partition: PartitionConfig) -> tuple[Indices, Indices]:
    """Return the shard and the slice of every row of a table, two (samples,) int64."""
    return homes(table.ids.tolist(), partition, owners=table.owners, risks=table.risks)


def shard_tables(
    table: SampleTable, shards: Indices, slices: Indices, partition: PartitionConfig
) -> Iterator[pa.Table]:
    """Yield the run's copy of each shard's samples, which does not depend on the order of the rows."""
    hashes = identity_hashes(table.ids.tolist(), seed=partition.seed, purpose="sample")
    order = np.lexsort((hashes, slices, shards))
    starts = np.searchsorted(shards[order], np.arange(1, partition.shards))
    for rows in np.split(order, starts):
        yield to_arrow(table.take(rows), slices[rows])


def training_data(config: Config) -> str:
    """Return the files of a new run. Raises ConfigInvalid if the configuration names none."""
    if config.data.train is None:
        raise ConfigInvalid("data.train: must be given, or a table in memory beside the configuration")
    return config.data.train


def plan_training(config: Config, training: TrainingTable, table: SampleTable, path: str) -> TrainingSpec:
    """Return the settings that training needs.

    Args:
        config: The settings of the run.
        training: The training table.
        table: Its samples, as the run keeps them.
        path: The table, for messages.

    Raises:
        ConfigInvalid: The settings do not fit the data.
        DataInvalid: The same, where the data should change.
    """
    samples, classes = len(table.ids), training.classes.count
    if samples < config.partition.slices:
        raise DataInvalid(path, f"has {plural(samples, 'sample')} for {config.partition.slices} slices; use fewer")
    is_numbered = table.labels.ndim == 1
    if is_numbered and config.data.classes is None and classes > samples:
        raise DataInvalid(
            path,
            f"has a label {classes - 1} among {plural(samples, 'sample')}; number the classes from 0, without gaps",
        )
    plan = _plan_inputs(config, table.features, classes, kinds=training.kinds, source=path)
    if config.unlearning.contributions == "group" and config.unlearning.groups_per_slice is None:
        per_slice = samples / (config.partition.shards * config.partition.slices)
        fitting = max(1, round(per_slice / config.training.batch_size))
        raise ConfigInvalid(
            "unlearning.groups_per_slice must be given with contributions group, since it may not depend on the data; "
            f"{fitting} makes batches of about {config.training.batch_size}"
        )
    return plan


def sample_form(config: Config) -> SampleForm:
    """Return the form in which a run keeps its samples. Raises ConfigInvalid if the task's factory fails."""
    columns = None
    if config.task.keeps_columns:
        columns = columns_of_factory(config.task) or config.data.feature_columns
    return SampleForm(columns=columns, target=config.task.target, tabular=config.task.tabular)


def _plan_inputs(
    config: Config, features: Rows, classes: int, *, kinds: Mapping[str, str], source: str
) -> TrainingSpec:
    """Return the settings that training needs, with the inputs that the task makes of some samples.

    Raises ConfigInvalid or DataInvalid.
    """
    if not isinstance(features, Columns):
        if config.data.normalize == "unit" and features.dtype not in PIXELS:
            problem = f"unit is for uint8 and uint16, and the features are {features.dtype}"
            raise ConfigInvalid(f"data.normalize: {problem}; cast to uint8, or use shard")
        return TrainingSpec.of(config, input_shape=features.shape[1:], classes=classes)
    plan = TrainingSpec.of(config, input_shape=(), classes=classes, columns=features.names, column_kinds=kinds)
    inputs = example_inputs(plan, features, source=source)
    return replace(plan, inputs=inputs, input_shape=inputs[""].shape if set(inputs) == {""} else ())


def kept_rows(features: Rows, normalize: NormalizeSetting) -> Rows:
    """Convert arrays to what a run keeps of them; columns stay as they are."""
    return features if isinstance(features, Columns) else kept_features(features, normalize)


def _check_model(plan: TrainingSpec) -> bool:
    """Return whether the model has batch norm. Raises ConfigInvalid."""
    has_batch_norm = check_training(plan)
    if has_batch_norm and plan.groups_per_slice is None and plan.training.batch_size == 1:
        raise ConfigInvalid("training.batch_size: batch norm needs batches of two samples or more")
    return has_batch_norm


def _check_shards(config: Config, table: SampleTable, shards: Indices, path: str) -> None:
    """Raise DataInvalid for shards that cannot be trained. Excluded samples count."""
    partition = config.partition
    if len(np.unique(table.labels, axis=0)) == 1:
        raise DataInvalid(
            path,
            f"column {', '.join(config.data.label_columns)} has the same label in all rows; training needs two or more",
        )
    for shard in range(partition.shards):
        labels = table.labels[shards == shard]
        what = f"shard {shard} of {partition.shards}"
        if not len(labels):
            raise DataInvalid(path, f"{what} would hold no samples; use fewer shards")
        if len(labels) < partition.slices:
            held = plural(len(labels), "sample")
            raise DataInvalid(path, f"{what} would hold {held} for {partition.slices} slices; use fewer")


def _standardised_integers(plan: TrainingSpec, features: Rows) -> list[str]:
    """Return the line that says that a user's model gets integers as measurements, which the numbers of tokens are not."""
    if isinstance(features, Columns) or not plan.has_factory or plan.normalize != "shard":
        return []
    if features.dtype.kind not in "iu" or features.dtype in PIXELS:
        return []
    return ["features are integers and are standardised; set data.normalize: none if they are the numbers of tokens"]


def _shards_of_one_class(table: SampleTable, shards: Indices, count: int) -> list[str]:
    """Return the line that says which shards hold a single class, if some do: they are trained all the same."""
    if table.labels.ndim > 1:
        return []
    single = [shard for shard in range(count) if len(np.unique(table.labels[shards == shard])) == 1]
    if not single:
        return []
    shown = ", ".join(str(shard) for shard in single[:_SHOWN]) + (", ..." if len(single) > _SHOWN else "")
    noun = "shard" if len(single) == 1 else "shards"
    return [
        f"{noun} {shown} of {count}: a single class, which is all that they can learn; fewer shards would mix classes"
    ]


def _excluded(table: SampleTable, exclude: Collection[SampleId]) -> npt.NDArray[np.bool_]:
    ids: list[SampleId] = table.ids.tolist()
    known = frozenset(ids)
    named = as_sample_ids(exclude, integers=table.ids.dtype.kind == "i")
    excluded = frozenset(spelling_in(known, sample_id) for sample_id in named)
    unknown = sorted(excluded - known, key=str)
    if unknown:
        raise UnknownSamples([str(sample_id) for sample_id in unknown[:3]], len(unknown))
    return np.array([sample_id in excluded for sample_id in ids], dtype=bool)


def _revoked(table: SampleTable, stores: Iterable[RunStore]) -> npt.NDArray[np.bool_]:
    """Return which samples some of these runs revoked, by id or by owner, (samples,) bool."""
    rows = np.zeros(len(table.ids), dtype=bool)
    for store in stores:
        rows |= KnownRevocations.of_run(store).rows_of(table)
    return rows


def _owned(table: SampleTable, owners: Collection[SampleId]) -> npt.NDArray[np.bool_]:
    """Return which samples belong to one of these owners, (samples,) bool. Raises RequestInvalid, UnknownOwner."""
    if not owners:
        return np.zeros(len(table.ids), dtype=bool)
    if table.owners is None:
        raise RequestInvalid(
            "owners can be left out of a run that knows them: set data.owner, or exclude samples by id"
        )
    present = [None if owner is None else str(owner) for owner in table.owners]
    known = frozenset(owner for owner in present if owner is not None)
    excluded = {spelling_in(known, str(_id_as_kept(owner))) for owner in owners}
    if unknown := sorted(excluded - known, key=str):
        raise UnknownOwner(str(unknown[0]))
    return np.array([owner in excluded for owner in present], dtype=bool)


def _id_as_kept(value: SampleId) -> SampleId:
    try:
        return as_id(value)
    except ValueError as error:
        raise RequestInvalid(f"{one_line(error)}; leave it out") from error
