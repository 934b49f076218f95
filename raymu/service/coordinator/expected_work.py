"""The seconds of a call's work, from the measured speed of the run, before a fleet is chosen for it."""

import time
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from raymu.config import Config
from raymu.core.fleet_choice import FleetWork
from raymu.core.records import ShardLineage
from raymu.core.remedies import training_passes
from raymu.errors import RaymuError
from raymu.service.coordinator.calls import Call, Configure, Extend, Locations, Revoke, Settle, Submit
from raymu.service.requests.revocation import Revocation
from raymu.store.run import RunStore

_GUESS_S = 5e-5
"""Seconds of a sample pass where nothing is measured: those of a small model."""
_WHOLE_BYTES = 1_000_000_000
"""Bytes of a run's samples from which its shards are many passes, whatever the model is."""
_FEW, _MORE = 16, 256
"""Samples that a stage is timed on: more if few are fast."""
_FAST_S = 0.1


def work_of(store: RunStore, call: Call[Any] | None) -> FleetWork:
    """Return the work of a call, at most. None stands for a training.

    Args:
        store: The run.
        call: What a coordinator is to do.
    """
    try:
        lineages = store.current().lineages
    except RaymuError:  # it is not trained
        return _training(store)
    config, shards_s = store.config, [_training_s(lineage, store.config) for lineage in lineages]
    match call:
        case Configure() | Locations():
            return FleetWork(shards=0, seconds=0.0)
        case Revoke() | Submit():
            shards = min(len(lineages), sum(_shards(revocation, config) for revocation in call.revocations))
            seconds = fmean(map(_retrain_fraction, lineages)) * fmean(shards_s) * shards
            return FleetWork(shards=shards, seconds=seconds)
        case Settle():
            in_debt = [seconds for lineage, seconds in zip(lineages, shards_s, strict=True) if lineage.debts]
            return FleetWork(shards=len(in_debt), seconds=sum(in_debt))
        case Extend():
            slices = call.extension.slices
            last = [
                2.0 * seconds * slices / lineage.slices for lineage, seconds in zip(lineages, shards_s, strict=True)
            ]
            return FleetWork(shards=len(lineages), seconds=sum(last))
        case _:
            return FleetWork(shards=len(lineages), seconds=sum(shards_s))


def _shards(revocation: Revocation, config: Config) -> int:
    """Return the most shards that a request can touch."""
    if revocation.owner is None:
        return len(revocation.ids)
    return 1 if config.partition.policy == "owner" else config.partition.shards


def _training_s(lineage: ShardLineage, config: Config) -> float:
    """Return the seconds of training a whole shard, as it was measured."""
    epochs = (*config.epochs_per_stage, *lineage.added_epochs)
    passes = training_passes(lineage.slice_samples, epochs, stages=range(lineage.slices))
    return passes * lineage.seconds_per_pass + lineage.slices * lineage.seconds_per_stage


def _retrain_fraction(lineage: ShardLineage) -> float:
    """Return the mean share of a shard's stages that one sample of it makes train again. Later stages are longer."""
    slices = lineage.slices
    return fmean(1.0 - (first / slices) ** 2 for first in range(slices))


def _training(store: RunStore) -> FleetWork:
    """Return the work of training a run, by the speed of a few samples of its first shard."""
    config, tables = store.config, store.manifest.tables
    shards = len(tables)
    byte_size = sum(table.byte_size for table in tables)
    if byte_size > _WHOLE_BYTES:
        return FleetWork(shards=shards, seconds=byte_size * 1e-6)
    samples = store.samples.read_table(tables[0], ["slice"]).num_rows
    slices = [samples / config.partition.slices] * config.partition.slices
    passes = training_passes(slices, config.epochs_per_stage, stages=range(len(slices)))
    return FleetWork(shards=shards, seconds=passes * shards * _seconds_per_pass(store))


def _seconds_per_pass(store: RunStore) -> float:
    """Time two short stages. Where other threads compute, nothing is timed: generators of random numbers are shared."""
    from raymu.service.run_spec import spec_of
    from raymu.service.shard.files import read_shard_samples
    from raymu.training.determinism import deterministic, device_or_cpu
    from raymu.training.own_process import has_other_threads
    from raymu.training.trainer import ShardTrainer

    if has_other_threads():
        return _GUESS_S
    config = store.config
    device = device_or_cpu(config.device)
    seconds_per_pass = _GUESS_S
    try:
        spec = replace(spec_of(store), epochs=(1,))
        samples = read_shard_samples(store, store.manifest.tables[0])
        with deterministic(device, config.cluster.threads):
            trainer = ShardTrainer(spec, 0, device)
            for rows in (_FEW, _FEW, _MORE):
                is_first = np.arange(len(samples.hashes)) < rows
                few = replace(samples.where(is_first), slices=np.zeros(int(is_first.sum()), dtype=np.int64))
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                passes = trainer.train_stage(few, 0)
                took_s = time.perf_counter() - began_s
                if device.type == "cpu":  # without the time in which other programs have the CPU
                    took_s = min(took_s, time.process_time() - began_cpu_s)
                seconds_per_pass = took_s / max(1, passes)
                if rows == _FEW and took_s > _FAST_S:
                    break
    except RaymuError:  # the training itself will say why
        return _GUESS_S
    return seconds_per_pass
