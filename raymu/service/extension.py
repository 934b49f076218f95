"""Extensions of a run: a table of new samples, checked completely, and added to every shard as further slices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from raymu.config import limits
from raymu.core.arrays import Mask
from raymu.core.records import FileRef, SampleFiles
from raymu.data.frames import TableData, source_of
from raymu.data.routes import Routes
from raymu.data.spellings import spellings
from raymu.data.tables import SampleTable, read_training_table, require_shape
from raymu.errors import DataInvalid, RequestInvalid
from raymu.service.history import open_history
from raymu.service.history_parts import added_homes
from raymu.service.ingest import kept_rows, shard_tables
from raymu.service.known_revocations import KnownRevocations, has_registered
from raymu.service.requests.sample_index import SampleIndex
from raymu.service.run_spec import spec_of
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore, routes_writer
from raymu.text import one_line, plural
from raymu.training.checks import check_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """Samples to add to a run, and the stages that train on them."""

    data: TableData
    """The new samples: locations of files, one a line, or a table in memory."""
    slices: int = 1
    """Number of slices that they become in each shard."""
    epochs: int | None = None
    """Epochs of each new stage; None for as many as the last stage has."""
    ignore_revoked: bool = False
    """Leave out samples that were revoked, and those of revoked owners, instead of refusing the table."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NewSamples:
    """The samples of an extension, checked, with their place in the run."""

    tables: tuple[pa.Table, ...]
    """For each shard, its new samples in the form of the run's own tables."""
    slice_samples: tuple[tuple[int, ...], ...]
    """For each shard, the number of samples in each added slice."""
    epochs: tuple[int, ...]
    """Epochs of each new stage."""
    left_out: int
    """Number of samples that were revoked, and left out."""
    conversions: tuple[str, ...]
    """What was converted, as lines for people."""

    @property
    def samples(self) -> int:
        return sum(map(sum, self.slice_samples))

    def write(self, store: RunStore, samples: Sequence[SampleFiles]) -> "WrittenSamples":
        """Write each shard's table again, with the new samples after the others, and the routes to the new ones.

        Args:
            store: The run.
            samples: The samples of each shard.

        Raises StorageFailed.
        """
        # Routes to some samples alone are of no use: then every index is searched.
        is_routed = store.manifest.routes is not None
        routing = routes_writer(store.config, store.keys.hash_key) if is_routed else None
        written, routes = list(samples), list[Routes]()
        for shard, (files, added) in enumerate(zip(samples, self.tables, strict=True)):
            if added.num_rows:
                table = pa.concat_tables([store.read_table(files.table), added]).combine_chunks()
                written[shard] = store.write_samples(shard, table)
            if routing:
                routes += routing.add(shard, routing.hashes_of(added))
        refs = store.write_routes(Routes.merged([*routes, routing.routes()])) if routing else []
        return WrittenSamples(samples=tuple(written), routes=tuple(refs))


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenSamples:
    """The files of an extension."""

    samples: tuple[SampleFiles, ...]
    """For each shard, its samples and the added ones."""
    routes: tuple[FileRef, ...]
    """Routes to the added samples; none where every home follows from the id."""


def check_extension(store: RunStore, extension: Extension) -> None:
    """Check an extension beside whoever works on the run, and change nothing. Raises what `read_new_samples` raises."""
    journal = store.journal(is_read_only=True)
    try:
        board = open_history(store, journal).board
        samples = SampleIndex(store, board.samples_of, added_routes=lambda: board.added_routes)
        read_new_samples(store, extension, board.tables, board.epochs, journal, samples)
    finally:
        journal.close()


def read_new_samples(
    store: RunStore,
    extension: Extension,
    tables: Sequence[FileRef],
    epochs: Sequence[int],
    journal: Journal,
    samples: SampleIndex,
) -> NewSamples:
    """Read the samples of an extension, check them with the run, and choose the home of each.

    Args:
        store: The run.
        extension: What to add.
        tables: The table of each shard.
        epochs: Epochs of each stage.
        journal: The run's journal, which knows the revoked samples.
        samples: The samples that the run holds.

    Raises:
        RaymuError: DataInvalid, RequestInvalid, or ConfigInvalid of a task that fails.
        FileMissing: A table of the run is missing.
        FileCorrupt: A table of the run was changed.
    """
    stages = _stage_epochs(extension, epochs)
    source, manifest, config = source_of(extension.data), store.manifest, store.config
    training = read_training_table(
        extension.data, config.data, manifest.form, classes=manifest.class_table, is_wide=True
    )
    table = replace(training.samples, features=kept_rows(training.samples.features, config.data.normalize))
    require_shape(source, table.features, manifest.input_shape)
    if (table.ids.dtype.kind == "i") != manifest.has_integer_ids:
        kinds = ("integers", "text") if table.ids.dtype.kind == "i" else ("text", "integers")
        raise DataInvalid(source, f"has ids that are {kinds[0]}, and those of the run are {kinds[1]}")
    table, left_out = _without_revoked(source, table, store, journal, extension)
    _require_new(source, table, samples)
    _require_not_held_out(source, table, store)
    check_rows(spec_of(store), table.features, source=source)
    shards, slices = added_homes(table, config.partition, first=len(epochs), slices=extension.slices)
    parts = tuple(
        as_kept(source, part, store.read_table(ref))
        for part, ref in zip(shard_tables(table, shards, slices, config.partition), tables, strict=True)
    )
    counts = tuple(
        tuple(np.bincount(slices[shards == shard] - len(epochs), minlength=extension.slices).tolist())
        for shard in range(config.partition.shards)
    )
    return NewSamples(
        tables=parts, slice_samples=counts, epochs=stages, left_out=left_out, conversions=training.conversions
    )


def _stage_epochs(extension: Extension, epochs: Sequence[int]) -> tuple[int, ...]:
    """Return the epochs of each new stage. Raises RequestInvalid."""
    most = limits.MAX_SLICES - len(epochs)
    if not 1 <= extension.slices <= most:
        raise RequestInvalid(
            f"{extension.slices} new slices: the run has {len(epochs)} already; add from 1 to {most}"
            if most
            else f"the run has {plural(len(epochs), 'slice')}, the most that a run can have; train anew"
        )
    if extension.epochs is not None and not 1 <= extension.epochs <= limits.MAX_EPOCHS:
        raise RequestInvalid(f"{extension.epochs} epochs: a stage has from 1 to {limits.MAX_EPOCHS}")
    return (extension.epochs or epochs[-1],) * extension.slices


def _without_revoked(
    source: str, table: SampleTable, store: RunStore, journal: Journal, extension: Extension
) -> tuple[SampleTable, int]:
    """Return the samples that were never revoked, and how many were. Raises DataInvalid."""
    known = KnownRevocations(names=journal.revoked().keys(), hash_key=store.keys.hash_key)
    is_revoked = known.rows_of(table)
    count = int(is_revoked.sum())
    if count and not extension.ignore_revoked:
        raise DataInvalid(
            source,
            f"has {plural(count, 'sample')} that this run revoked, by id or by owner, and that may not come back; remove "
            "them, or leave them out with --ignore-revoked",
        )
    is_revoked |= _registered_rows(source, table, store)
    kept = table.take(np.flatnonzero(~is_revoked))
    if not len(kept.ids):
        raise DataInvalid(source, "has no samples left: all of them were revoked, by id or by owner")
    return kept, int(is_revoked.sum())


def _registered_rows(source: str, table: SampleTable, store: RunStore) -> Mask:
    """Return which samples the registry has as revoked: (samples,) bool. Raises DataInvalid if the run refuses them."""
    config = store.config.registry
    if config is None:
        return np.zeros(len(table.ids), dtype=bool)
    store.require_trusted("registry")
    is_revoked = KnownRevocations.of_registry(config).rows_of(table)
    if config.when_revoked == "refuse" and is_revoked.any():
        raise DataInvalid(source, has_registered(int(is_revoked.sum())))
    return is_revoked


def _require_new(source: str, table: SampleTable, samples: SampleIndex) -> None:
    """Raise DataInvalid if the run holds some of the samples."""
    forms = [(sample_id, form) for sample_id in table.ids.tolist() for form in spellings(sample_id)]
    homes = samples.homes([form for _, form in forms])
    again = sorted({sample_id for (sample_id, _), home in zip(forms, homes, strict=True) if home}, key=str)
    if again:
        shown = one_line(", ".join(str(each) for each in again[:3])) + (", ..." if len(again) > 3 else "")
        raise DataInvalid(
            source, f"has {plural(len(again), 'id')} that the run holds already ({shown}); name new samples alone"
        )


def _require_not_held_out(source: str, table: SampleTable, store: RunStore) -> None:
    """Raise DataInvalid if shards are validated on some of the samples."""
    ref = store.manifest.held_out
    if ref is None:
        return
    held_out = set(map(str, store.read_table(ref, ["id"])["id"].to_pylist()))
    shared = sum(str(sample_id) in held_out for sample_id in table.ids.tolist())
    if shared:
        raise DataInvalid(
            source, f"has {plural(shared, 'sample')} of validation.data, by their ids; name others: these stay held out"
        )


def as_kept(source: str, added: pa.Table, held: pa.Table) -> pa.Table:
    """Convert new samples to the types in which the run keeps its own. Raises DataInvalid if that would change a value."""
    try:
        return added.cast(held.schema.with_metadata(added.schema.metadata)).replace_schema_metadata(
            held.schema.metadata
        )
    except (pa.ArrowException, ValueError) as error:
        raise DataInvalid(
            source, f"has values of another type than the run keeps: {one_line(error)}; give columns of the same types"
        ) from error
