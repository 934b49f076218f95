"""Extensions of a run: a table of new samples, checked completely, and added to every shard as further slices."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from heapq import nsmallest

import numpy as np
import pyarrow as pa

from raymu.config import limits
from raymu.core.arrays import Mask
from raymu.core.partition import Indices
from raymu.core.records import FileRef, SampleFiles, SampleId
from raymu.data.arrow_buffers import to_arrow, to_numpy, whole
from raymu.data.frames import TableData
from raymu.data.shard_rows import HASH
from raymu.data.spellings import spellings
from raymu.data.table_reading import TableReading, open_table
from raymu.errors import DataInvalid, RequestInvalid, StorageFailed
from raymu.service.history import open_history
from raymu.service.known_revocations import KnownRevocations, has_registered
from raymu.service.placed_here import RowsHere, rows_here
from raymu.service.placed_samples import PlacedSamples
from raymu.service.placement import HeldForm, Placement
from raymu.service.requests.sample_index import SampleIndex
from raymu.service.run_spec import spec_of
from raymu.service.shard_tables import grow_shard
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from raymu.store.stored_samples import routes_writer
from raymu.text import one_line, plural
from raymu.training.checks import spec_for_rows

_SHOWN = 3
"""Ids that a message names."""


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


class NewSamples:
    """The samples of an extension, checked and placed. They are in temporary files until they are written."""

    def __init__(
        self, placed: PlacedSamples, rows: RowsHere, reading: TableReading, counts: Indices, epochs: tuple[int, ...]
    ) -> None:
        """Take samples that were checked.

        Args:
            placed: The samples.
            rows: Their rows.
            reading: How their table is read.
            counts: (shards, slices) samples in each added slice of each shard.
            epochs: Epochs of each new stage.
        """
        self._placed, self._rows, self._source = placed, rows, reading.source
        self.slice_samples: tuple[tuple[int, ...], ...] = tuple(map(tuple, counts.tolist()))
        """For each shard, the number of samples in each added slice."""
        self.epochs = epochs
        """Epochs of each new stage."""
        self.left_out = placed.facts.revoked
        """Number of samples that were revoked, and left out."""
        self.conversions = placed.facts.findings.conversions(reading)
        """What was converted, as lines for people."""

    @property
    def samples(self) -> int:
        """Number of samples that are added."""
        return sum(map(sum, self.slice_samples))

    def write(self, store: RunStore, samples: Sequence[SampleFiles]) -> "WrittenSamples":
        """Write each shard's table again, with the new samples after the others, and the routes to the new ones.

        Args:
            store: The run.
            samples: The samples of each shard.

        Raises StorageFailed, FileMissing, FileCorrupt, and DataInvalid if a shard has samples of other types.
        """
        # Routes to some samples alone are of no use: then every index is searched.
        is_routed = store.manifest.routes is not None
        routing = routes_writer(store.config, store.keys.hash_key) if is_routed else None
        written, routes = list(samples), list[FileRef]()
        with _room_for_samples(store):
            for shard, files in enumerate(samples):
                if not any(self.slice_samples[shard]):
                    continue
                parts, release = self._rows.parts(shard), self._rows.release
                written[shard] = grow_shard(store, shard, files, parts, source=self._source, release=release)
                if routing:
                    added = pa.concat_tables([part.select(["id", "owner"]) for part in parts])
                    for part in routing.add(shard, routing.hashes_of(added)):
                        routes += store.samples.write_routes(part)
        if routing:
            routes += store.samples.write_routes(routing.routes())
        return WrittenSamples(samples=tuple(written), routes=tuple(routes))

    def close(self) -> None:
        """Delete the temporary files."""
        self._placed.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenSamples:
    """The files of an extension."""

    samples: tuple[SampleFiles, ...]
    """For each shard, its samples and the added ones."""
    routes: tuple[FileRef, ...]
    """Routes to the added samples; none where every home follows from the id."""


def check_extension(store: RunStore, extension: Extension) -> None:
    """Check an extension beside whoever works on the run, and change nothing. Raises what `read_new_samples` raises."""
    with closing(store.journal(is_read_only=True)) as journal:
        board = open_history(store, journal).board
        samples = SampleIndex(store, board.samples_of, added_routes=lambda: board.added_routes)
        read_new_samples(store, extension, board.tables, board.epochs, journal, samples).close()


def read_new_samples(
    store: RunStore,
    extension: Extension,
    tables: Sequence[FileRef],
    epochs: Sequence[int],
    journal: Journal,
    samples: SampleIndex,
) -> NewSamples:
    """Read the samples of an extension part by part, check them with the run, and choose the home of each.

    Whoever gets them closes them.

    Args:
        store: The run.
        extension: What to add.
        tables: The table of each shard.
        epochs: Epochs of each stage.
        journal: The run's journal, which knows the revoked samples.
        samples: The samples that the run holds.

    Raises:
        RaymuError: DataInvalid, RequestInvalid, StorageFailed, or ConfigInvalid of a task that fails.
        FileMissing: A table of the run is missing.
        FileCorrupt: A table of the run was changed.
    """
    stages, first = _stage_epochs(extension, epochs), len(epochs)
    manifest, config = store.manifest, store.config
    stream, reading = open_table(extension.data, config.data, manifest.form, classes=manifest.class_table)
    if (is_integer := reading.has_integer_ids(stream.schema)) != manifest.has_integer_ids:
        kinds = ("integers", "text") if is_integer else ("text", "integers")
        raise DataInvalid(reading.source, f"has ids that are {kinds[0]}, and those of the run are {kinds[1]}")
    own = KnownRevocations(names=journal.revoked().keys(), hash_key=store.keys.hash_key)
    registered, is_refused = _registered(store)
    is_left_out = extension.ignore_revoked
    placement = Placement(
        reading=reading,
        partition=replace(config.partition, slices=extension.slices, risk_bands=None),
        normalize=config.data.normalize,
        revoked_by=[*([own] if is_left_out else []), *(registered if not is_refused else [])],
        refused=[*([] if is_left_out else [own]), *(registered if is_refused else [])],
        held=HeldForm(schema=store.samples.open_table(tables[0]).schema, input_shape=manifest.input_shape, first=first),
        spec=None if manifest.columns is None else spec_for_rows(spec_of(store)),
    )
    rows = rows_here(stream, placement, store)
    placed = PlacedSamples(stream, placement, rows, location=store.files.display_location)
    try:
        placed.take_all()
        placed.facts.findings.require_sound(reading)
        _require_not_revoked(reading.source, placed, is_left_out=is_left_out)
        with _room_for_samples(store):
            counts = _new_in_shards(reading.source, rows, placement, samples)
            _require_not_held_out(reading.source, placed, store)
        return NewSamples(placed, rows, reading, counts, stages)
    except BaseException:
        placed.close()
        raise


@contextmanager
def _room_for_samples(store: RunStore) -> Iterator[None]:
    """Raise StorageFailed if there is no room for the temporary files of new samples."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(store.files.display_location, one_line(error.strerror or error)) from error


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


def _registered(store: RunStore) -> tuple[list[KnownRevocations], bool]:
    """Return what the run's registry knows, if there is one, and whether samples that it has are refused."""
    config = store.config.registry
    if config is None:
        return [], False
    store.require_trusted("registry")
    return [KnownRevocations.of_registry(config)], config.when_revoked == "refuse"


def _require_not_revoked(source: str, placed: PlacedSamples, *, is_left_out: bool) -> None:
    """Raise DataInvalid for samples that may not come back, and if none is left without those that are left out."""
    own, *registered = placed.facts.refused if not is_left_out else (0, *placed.facts.refused)
    if own:
        raise DataInvalid(
            source,
            f"has {plural(own, 'sample')} that this run revoked, by id or by owner, and that may not come back; remove "
            "them, or leave them out with --ignore-revoked",
        )
    if any(registered):
        raise DataInvalid(source, has_registered(sum(registered)))
    if not placed.samples:
        raise DataInvalid(source, "has no samples left: all of them were revoked, by id or by owner")


def _new_in_shards(source: str, rows: RowsHere, placement: Placement, samples: SampleIndex) -> Indices:
    """Count the new samples in each added slice, (shards, slices). Raises DataInvalid if the run holds some of them.

    Samples are looked up shard by shard, so that each index is read once.

    Args:
        source: The table, for messages.
        rows: The new samples.
        placement: How they were placed.
        samples: The samples that the run holds.
    """
    partition, held = placement.partition, placement.held
    assert held is not None, "the samples are added to a run"
    counts = np.zeros((partition.shards, partition.slices), dtype=np.int64)
    again, shown = 0, list[SampleId]()
    for shard in range(partition.shards):
        for part in rows.parts(shard):
            added = to_numpy(part["slice"]) - held.first
            counts[shard] += np.bincount(added, minlength=partition.slices)
            is_held = _is_held(samples, shard, part, is_by_id=partition.policy != "owner")
            if is_held.any():
                ids = part["id"].filter(to_arrow(is_held)).to_pylist()
                again, shown = again + len(ids), nsmallest(_SHOWN + 1, [*shown, *ids], key=str)
        rows.release()
    if again:
        names = one_line(", ".join(map(str, shown[:_SHOWN]))) + (", ..." if again > _SHOWN else "")
        raise DataInvalid(
            source, f"has {plural(again, 'id')} that the run holds already ({names}); name new samples alone"
        )
    return counts


def _is_held(samples: SampleIndex, shard: int, part: pa.Table, *, is_by_id: bool) -> Mask:
    """Return which new samples of a shard the run holds, in any spelling of their ids: (rows,) bool.

    Args:
        samples: The samples that the run holds.
        shard: The shard.
        part: Placed rows of it.
        is_by_id: Whether the shard of a sample follows from its id.
    """
    is_held = samples.held(shard, to_numpy(part[HASH])) if is_by_id else np.zeros(len(part), dtype=bool)
    if is_by_id and pa.types.is_integer(part.schema.field("id").type):
        return is_held
    forms = [
        (row, form)
        for row, sample_id in enumerate(part["id"].to_pylist())
        for form in (spellings(sample_id)[1:] if is_by_id else spellings(sample_id))
    ]
    homes = samples.homes([form for _, form in forms])
    is_held[[row for (row, _), home in zip(forms, homes, strict=True) if home]] = True
    return is_held


def _require_not_held_out(source: str, placed: PlacedSamples, store: RunStore) -> None:
    """Raise DataInvalid if shards are validated on some of the samples."""
    ref = store.manifest.held_out
    if ref is None:
        return
    shared = placed.count_shared(whole(store.samples.read_table(ref, ["id"])["id"].cast(pa.string())))
    if shared:
        raise DataInvalid(
            source, f"has {plural(shared, 'sample')} of validation.data, by their ids; name others: these stay held out"
        )
