"""Makes a run from the user's table, which is checked completely before anything is written."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

from raymu.config import Config, PartitionConfig, TargetName
from raymu.config.data import ALL_COLUMNS, NormalizeSetting
from raymu.core.partition import Indices, homes, identity_hashes
from raymu.core.records import SampleId
from raymu.core.trust import EVERYTHING
from raymu.data.columns import kept_features
from raymu.data.frames import TableData
from raymu.data.rows import Columns, Rows
from raymu.data.run_table import from_arrow, to_arrow
from raymu.data.sample_form import SampleForm
from raymu.data.table_files import require_no_secret
from raymu.data.table_reading import TableReading, open_table
from raymu.data.tables import SampleTable, read_test_data
from raymu.errors import (
    ConfigInvalid,
    DataInvalid,
    DeviceUnavailable,
    RaymuError,
    StorageFailed,
)
from raymu.service.held_out import held_out_table
from raymu.service.known_revocations import KnownRevocations, has_registered
from raymu.service.named_samples import NamedSamples
from raymu.service.phase import PROBING, begin_phase
from raymu.service.placed_here import rows_here
from raymu.service.placed_samples import PlacedSamples, RowsMaker
from raymu.service.placement import Placement
from raymu.service.shard_checks import check_shards, shards_of_one_class
from raymu.store.creation import begin_run, create_run, remove_run, require_empty
from raymu.store.journal.fencing import check_journal_access
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from raymu.text import plural
from raymu.training.checks import (
    check_repeatable,
    check_rows,
    check_training,
    example_inputs,
    spec_for_rows,
    with_inputs,
)
from raymu.training.code_record import record_code
from raymu.training.normalizer import PIXELS
from raymu.training.probe import few_samples
from raymu.training.spec import TrainingSpec
from raymu.training.tasks import columns_of_factory


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedRun:
    """A run that is checked but not written yet."""

    store: RunStore
    manifest: RunManifest
    placed: PlacedSamples
    """The samples, each in its shard."""
    held_out: pa.Table | None
    """The samples that every shard is validated on; None without validation."""
    base: bytes | None
    """The file of the weights that all shards begin with; None without any."""
    new_folders: tuple[Path, ...]
    """Folders that writing creates, the run's own first."""
    left_out: int = 0
    """Number of samples that other runs revoked."""

    @property
    def samples(self) -> int:
        """Number of samples that the run holds."""
        return self.placed.samples

    def write(self) -> None:
        """Write the run's copy of the samples, shard by shard.

        Raises StorageFailed, or DeviceUnavailable if a cluster fails, after removing what was written.
        """
        try:
            shards = self.placed.write(self.store, Config.parse(self.manifest.config))
            create_run(
                self.store,
                self.manifest,
                shards,
                held_out=self.held_out,
                base=self.base,
                is_begun=self.placed.is_run_begun,
            )
        except (StorageFailed, DeviceUnavailable):
            self.remove()
            raise
        finally:
            self.placed.close()

    def remove(self) -> None:
        """Delete the run's files and its rows in the journal's database."""
        with suppress(RaymuError):  # the database may be what failed
            self.store.fencing.remove(self.manifest)
        remove_run(self.store, self.new_folders)


def prepare_run(
    config: Config,
    location: str,
    data: TableData | None = None,
    *,
    exclude: Collection[SampleId] = (),
    exclude_owners: Collection[SampleId] = (),
    revoked_by: Sequence[RunStore] = (),
    inexact: bool = False,
    rows: RowsMaker | None = None,
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
        rows: Chooses where the samples are placed; None for this process.

    Raises:
        RaymuError: DataInvalid, ConfigInvalid, RequestInvalid, UnknownSamples, UnknownOwner, RunInvalid or StorageFailed.
    """
    store = RunStore(location, trust=EVERYTHING)  # the settings are the caller's own
    require_empty(store)
    require_no_secret(config.data.test or "")
    source = training_data(config) if data is None else data
    stream, reading = open_table(source, config.data, sample_form(config))
    form = reading.form
    if form.columns is not None and config.data.features == ALL_COLUMNS:
        config = replace(config, data=replace(config.data, features=form.columns))
    named = NamedSamples.of(exclude, exclude_owners, has_integer_ids=reading.has_integer_ids(stream.schema))
    registered = KnownRevocations.of_registry(config.registry) if config.registry else None
    is_refused = config.registry is not None and config.registry.when_revoked == "refuse"
    placement = Placement(
        reading=reading,
        partition=config.partition,
        normalize=config.data.normalize,
        ids=named.spelled_ids,
        owners=named.spelled_owners,
        revoked_by=[
            *map(KnownRevocations.of_run, revoked_by),
            *([registered] if registered and not is_refused else []),
        ],
        refused=[registered] if registered and is_refused else [],
        spec=None if form.columns is None else _spec_of_task(config, reading),
    )
    new_folders = store.files.missing_folders()
    kept = (rows or rows_here)(stream, placement, store)
    placed = PlacedSamples(stream, placement, kept, location=store.files.display_location)
    if kept.is_run_begun:
        begin_run(store)
    try:
        return _prepared(config, store, placed, reading, named, new_folders=new_folders, inexact=inexact)
    except BaseException:
        placed.close()
        if kept.is_run_begun:
            remove_run(store, new_folders)
        raise


def _prepared(
    config: Config,
    store: RunStore,
    placed: PlacedSamples,
    reading: TableReading,
    named: NamedSamples,
    *,
    new_folders: tuple[Path, ...],
    inexact: bool,
) -> PreparedRun:
    """Place all samples, and check them with the configuration. Raises as `prepare_run`."""
    placed.take_all()
    facts = placed.facts
    facts.findings.require_sound(reading)
    classes = reading.classes or facts.findings.outputs
    assert classes is not None, "a table has rows"
    assert facts.head is not None, "a table has rows"
    source, form, head = reading.source, reading.form, facts.head
    plan = plan_training(
        config,
        features=kept_rows(head, config.data.normalize),
        outputs=classes.count,
        samples=facts.findings.rows,
        is_numbered=form.target is TargetName.CLASSES,
        kinds=form.kinds,
        path=source,
    )
    plan, base = with_inputs(plan, head).with_base()
    if config.data.track_accuracy:
        read_test_data(config.data, classes, plan.input_shape, form)
    check_shards(config, facts, source)
    single = shards_of_one_class(facts, form.target)
    placed.leave_out(named.left_out_ids(facts), named.left_out_owners(facts, has_owners=config.data.owner is not None))
    if any(facts.refused):
        raise DataInvalid(source, has_registered(sum(facts.refused)))
    if facts.revoked and not placed.samples:
        raise DataInvalid(source, "has no samples left: other runs revoked them, by id or by owner")
    held_out = held_out_table(config, classes, form, input_shape=plan.input_shape, count_shared=placed.count_shared)
    if held_out is not None:
        check_rows(plan, from_arrow(held_out)[0].features, source="validation.data")
    begin_phase(PROBING)
    has_batch_norm = _check_model(plan)
    differences = check_repeatable(plan, few_samples(*facts.few()), is_accepted=inexact)
    check_journal_access(store.files, config)
    conversions = (*facts.findings.conversions(reading), *_standardised_integers(plan, head), *single)
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
            conversions=conversions,
            has_integer_inputs=plan.takes_integers,
            has_integer_ids=named.has_integer_ids,
            has_batch_norm=has_batch_norm,
            created_at=datetime.now(UTC),
            raymu_version=version("raymu"),
            inexact=differences,
            code=record_code(plan),
        ),
        placed=placed,
        held_out=held_out,
        base=base,
        new_folders=new_folders,
        left_out=facts.revoked,
    )


def _spec_of_task(config: Config, reading: TableReading) -> TrainingSpec | None:
    """Return settings from which the task that checks rows is built; None if it accepts all. Raises ConfigInvalid."""
    columns = reading.form.columns or ()
    count = 1 if reading.classes is None else reading.classes.count
    spec = TrainingSpec.of(config, input_shape=(), classes=count, columns=columns, column_kinds=reading.form.kinds)
    return spec_for_rows(spec)


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


def plan_training(
    config: Config,
    *,
    features: Rows,
    outputs: int,
    samples: int,
    is_numbered: bool,
    kinds: Mapping[str, str],
    path: str,
) -> TrainingSpec:
    """Return the settings that training needs.

    Args:
        config: The settings of the run.
        features: Some of the samples, as the run keeps them.
        outputs: Number of classes, labels or numbers that the model tells.
        samples: Number of samples.
        is_numbered: Whether the labels are numbers of classes.
        kinds: Kinds of the columns, with the task `tabular`.
        path: The table, for messages.

    Raises:
        ConfigInvalid: The settings do not fit the data.
        DataInvalid: The same, where the data should change.
    """
    if samples < config.partition.slices:
        raise DataInvalid(path, f"has {plural(samples, 'sample')} for {config.partition.slices} slices; use fewer")
    if is_numbered and config.data.classes is None and outputs > samples:
        raise DataInvalid(
            path,
            f"has a label {outputs - 1} among {plural(samples, 'sample')}; number the classes from 0, without gaps",
        )
    plan = _plan_inputs(config, features, outputs, kinds=kinds, source=path)
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


def _standardised_integers(plan: TrainingSpec, features: Rows) -> list[str]:
    """Return the line that says that a user's model gets integers as measurements, which the numbers of tokens are not."""
    if isinstance(features, Columns) or not plan.has_factory or plan.normalize != "shard":
        return []
    if features.dtype.kind not in "iu" or features.dtype in PIXELS:
        return []
    return ["features are integers and are standardised; set data.normalize: none if they are the numbers of tokens"]
