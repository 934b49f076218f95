"""The held-out samples of a run: checked and copied when it is created, and read when it is trained."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import Config
from raymu.core.arrays import Targets
from raymu.core.uri import redacted
from raymu.data.classes import ClassTable
from raymu.data.columns import kept_features
from raymu.data.rows import Columns, Rows
from raymu.data.run_table import from_arrow, to_arrow
from raymu.data.sample_form import SampleForm
from raymu.data.table_files import require_no_secret
from raymu.data.tables import read_table, require_shape
from raymu.errors import DataInvalid, RunInvalid
from raymu.store.run import RunStore
from raymu.text import plural
from raymu.training.held_out import HeldOut


def held_out_table(
    config: Config,
    classes: ClassTable,
    form: SampleForm,
    *,
    input_shape: tuple[int, ...],
    count_shared: Callable[[pa.Array], int] = lambda _: 0,
) -> pa.Table | None:
    """Read the file of `validation.data`, as a run keeps it; None without validation.

    Args:
        config: The settings of the run.
        classes: Its classes.
        form: The form of its samples.
        input_shape: Shape of one sample's features, if they are arrays.
        count_shared: Returns how many samples of the run have one of these ids, (samples,) string.

    Raises:
        DataInvalid: The file cannot be read, or has samples that the run trains on.
    """
    if config.validation is None:
        return None
    location = config.validation.data
    require_no_secret(location)
    fields = replace(config.data, owner=None, risk=None)  # nobody revokes what is not trained on
    samples = read_table(location, fields, classes, form, is_wide=True)
    held = pa.array([str(sample_id) for sample_id in samples.ids.tolist()], pa.string())
    shared = count_shared(held)
    if shared:
        raise DataInvalid(
            redacted(location),
            f"has {plural(shared, 'sample')} of the training data, by their ids; held-out samples must be others: leave "
            "them out there, or exclude them from the run",
        )
    require_shape(redacted(location), samples.features, input_shape)
    features = samples.features
    if not isinstance(features, Columns):
        features = kept_features(features, config.data.normalize)
    return to_arrow(replace(samples, features=features, owners=None), np.zeros(len(samples.ids), dtype=np.int64))


def shared_ids(ids: pa.Array, rows: pa.Table) -> int:
    """Return how many rows of the run's own table have one of these ids, (samples,) string."""
    return int(pc.sum(pc.is_in(rows["id"].cast(pa.string()), value_set=ids)).as_py() or 0)


def held_out_of(store: RunStore) -> HeldOut | None:
    """Return the held-out samples of a run, which are read when they are needed; None without validation."""
    config = store.config
    if config.validation is None or store.manifest.held_out is None:
        return None
    return HeldOut(partial(_read, store), config.validation, config.task.target)


def restore_held_out(store: RunStore) -> None:
    """Write the run's copy of the held-out samples again if it is missing or changed, from the file of the configuration.

    Raises:
        RunInvalid: That file is missing, or is no longer what it was.
    """
    ref, manifest = store.manifest.held_out, store.manifest
    if ref is None or store.files.damage([ref]) == [None]:
        return
    try:
        table = held_out_table(store.config, manifest.class_table, manifest.form, input_shape=manifest.input_shape)
        is_same = table is not None and store.samples.restore_table(ref, table)
    except DataInvalid:
        is_same = False
    if not is_same:
        raise RunInvalid(
            store.files.display_location,
            f"has lost {ref.path}, and validation.data is not the file that it was; put either back from a backup",
        )


def _read(store: RunStore) -> tuple[Rows, Targets]:
    assert store.manifest.held_out is not None, "the run has held-out samples"
    samples, _ = from_arrow(store.samples.read_table(store.manifest.held_out))
    return samples.features, samples.labels
