"""Trains a new run, which is removed again if nothing can be trained from its settings and samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from raymu.api import Run, open_run
from raymu.backends import PlaceOfRows
from raymu.callbacks.callback import Callback
from raymu.config import Config
from raymu.console.notebook import stages_shown
from raymu.core.records import SampleId
from raymu.core.trust import demands_of
from raymu.data.frames import TableData, to_table
from raymu.errors import (
    ConfigInvalid,
    DataInvalid,
    DeviceUnavailable,
    RaymuError,
    RequestInvalid,
    TrainingFailed,
    mark_unfinished,
)
from raymu.imports import imports_uncollected
from raymu.service.phase import READING, WRITING, begin_phase
from raymu.service.shard.messages import Progress, no_progress
from raymu.store.trust_list import remember

_USER_ERRORS = (ConfigInvalid, DataInvalid, DeviceUnavailable, TrainingFailed)
"""Errors of a training that settling cannot repair: the new run is removed."""


def train(
    config: Config,
    data: str | Path | object | None = None,
    run_dir: str | Path | None = None,
    *,
    exclude: Collection[SampleId] = (),
    exclude_owners: Collection[SampleId] = (),
    revocations_of: Sequence[str | Path] = (),
    inexact: bool = False,
    address: str | None = None,
    progress: Progress = no_progress,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a new run.

    If the cluster or the storage fails once training has begun, or the training is interrupted, settling the run finishes
    it.

    Args:
        config: The settings, as the run keeps them.
        data: The samples, instead of `data.train`: a DataFrame of pandas or polars, an Arrow table, a relation of DuckDB, a
            split of Hugging Face datasets, anything with Arrow's C stream interface, a mapping of column names to values;
            or a path. A path alone is `run_dir`: `train(config, run_dir)` reads `data.train`.
        run_dir: An empty or missing directory, as a path or a URI. For a table in memory the default is a new one below
            `runs`, named by the time.
        exclude: Samples that the run never holds.
        exclude_owners: Owners of whom the run never holds a sample.
        revocations_of: Other runs. What they revoked, by id or by owner, is left out. `Run.training` has the number.
        inexact: Train also if the bits of the training cannot be repeated. Every receipt of the run is inconclusive then.
        address: The Ray cluster to use this time instead of the configured one.
        progress: Called after every trained stage.
        callbacks: Called with stages, generations, receipts and purges, beside those of the settings.

    Raises:
        RaymuError: ConfigInvalid, DataInvalid, UnknownSamples, RunInvalid, DeviceUnavailable or TrainingFailed, or
            StorageFailed while the run is written. Nothing is left of the run then.
    """
    with imports_uncollected():
        from raymu.service.ingest import prepare_run

    own, frame, location = _samples_and_run(config, data, run_dir)
    run = Run(location, address=address, trust=True, callbacks=callbacks)
    if own.callbacks:
        from raymu.callbacks import build_callbacks

        build_callbacks(own.callbacks)  # refuses before anything is read
    begin_phase(READING)
    others = [open_run(other) for other in revocations_of]
    for other in others:
        other.require_not_rolled_back()  # an older copy would not know of later revocations
    with (
        stages_shown(progress) as shown,
        PlaceOfRows(replace(own.cluster, address=address or own.cluster.address)) as place,
    ):
        begin_phase(READING)  # which a notebook hears from here on
        prepared = prepare_run(
            own,
            run.location,
            frame,
            exclude=exclude,
            exclude_owners=exclude_owners,
            revoked_by=[other._store for other in others],
            inexact=inexact,
            rows=place,
        )
        begin_phase(WRITING)
        prepared.write()
        remember(demands_of(own))  # so that this user's later commands on the run ask nothing
        try:
            run._train(shown, left_out=prepared.left_out)
        except BaseException as error:
            with suppress(RaymuError, OSError, MemoryError):
                run.close()
            if isinstance(error, _USER_ERRORS):
                prepared.remove()
            elif isinstance(error, RaymuError | OSError | MemoryError) and getattr(error, "exit_code", 2) == 2:
                mark_unfinished(error)  # the run stays
            raise
        return run


def _samples_and_run(
    config: Config, data: str | Path | object | None, run_dir: str | Path | None
) -> tuple[Config, TableData | None, str | Path]:
    """Return the settings with absolute paths, the table in memory if there is one, and where the run will be."""
    if isinstance(data, str | Path) and run_dir is None:
        data, run_dir = None, data
    if data is None or isinstance(data, str | Path):
        if run_dir is None:
            raise RequestInvalid("the new run has no directory; give run_dir, such as runs/letter")
        files = config if data is None else replace(config, data=replace(config.data, train=str(data)))
        return files.relative_to(Path.cwd()), None, run_dir
    table = to_table(data)
    own = replace(config, data=replace(config.data, train=None)).relative_to(Path.cwd())
    return own, table, run_dir or Path("runs") / f"{datetime.now().astimezone():%Y-%m-%d-%H%M%S}"
