"""Makes a run from the user's table, which is checked completely before anything is written."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from raymu.config import Config, TargetName
from raymu.config.data import ALL_COLUMNS
from raymu.core.records import SampleId
from raymu.core.trust import EVERYTHING
from raymu.data.frames import TableData
from raymu.data.run_table import from_arrow
from raymu.data.table_files import require_no_secret
from raymu.data.table_reading import TableReading, open_table
from raymu.data.tables import read_test_data
from raymu.errors import DataInvalid, DeviceUnavailable, RaymuError, StorageFailed
from raymu.service.held_out import held_out_table
from raymu.service.known_revocations import KnownRevocations, has_registered
from raymu.service.named_samples import NamedSamples
from raymu.service.phase import PROBING, begin_phase
from raymu.service.placed_here import rows_here
from raymu.service.placed_samples import PlacedSamples, RowsMaker
from raymu.service.placement import Placement
from raymu.service.shard_checks import check_shards, shards_of_one_class
from raymu.service.training_plan import (
    check_model,
    kept_rows,
    plan_training,
    sample_form,
    spec_of_task,
    standardised_integers,
    training_data,
)
from raymu.store.creation import begin_run, create_run, remove_run, require_empty
from raymu.store.journal.fencing import check_journal_access
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from raymu.training.checks import check_repeatable, check_rows, with_inputs
from raymu.training.code_record import record_code
from raymu.training.probe import few_samples


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
        spec=None if form.columns is None else spec_of_task(config, reading),
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
    has_batch_norm = check_model(plan)
    differences = check_repeatable(plan, few_samples(*facts.few()), is_accepted=inexact)
    check_journal_access(store.files, config)
    conversions = (*facts.findings.conversions(reading), *standardised_integers(plan, head), *single)
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
