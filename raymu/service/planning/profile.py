"""The profile of a run before training: its samples, and the speed of this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np

from raymu.config import Config, PartitionConfig
from raymu.core.partition import identity_hashes
from raymu.core.planning.trace import RevocableSamples
from raymu.core.records import Cost
from raymu.core.repair_speed import TrainingSpeed, training_speed
from raymu.data.frames import source_of
from raymu.data.tables import SampleTable, TrainingTable, read_training_table
from raymu.service.planning.population import planned_population
from raymu.service.training_plan import plan_training, sample_form, training_data
from raymu.training.batches import ShardSamples
from raymu.training.checks import check_training, with_inputs
from raymu.training.determinism import deterministic, device_or_cpu
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer

WARM_UP_SAMPLES, TIMED_SAMPLES, TIMED_STAGES = 128, (256, 1024), 3
"""The first batches of a process are slow, so they are not timed. Then stages of either size are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Facts about the training data, the model and the machine that a capacity plan needs."""

    population_of: Callable[[PartitionConfig], RevocableSamples]
    """Returns the samples of a run with a given partition."""
    seconds_per_pass: float
    """Compute seconds of one sample forward, backward and in an optimizer step."""
    seconds_per_stage: float = 0.0
    """Compute seconds of a stage beyond those of its passes, without writing its checkpoint."""
    has_batch_norm: bool = False


def profile(config: Config) -> Profile:
    """Read and check the training data, and time a short training on some of them. Nothing is written.

    Raises:
        DataInvalid: The training data cannot be used.
        ConfigInvalid: The settings do not fit the data.
    """
    data = training_data(config)
    training = read_training_table(data, config.data, sample_form(config))
    table = training.samples
    spec = with_inputs(_plan(config, training, source_of(data)), table.features)
    speed = _training_speed(config, spec, table)
    return Profile(
        population_of=partial(planned_population, table),
        seconds_per_pass=speed.seconds_per_pass,
        seconds_per_stage=speed.seconds_per_stage,
        has_batch_norm=check_training(spec),
    )


def _plan(config: Config, training: TrainingTable, source: str) -> TrainingSpec:
    table = training.samples
    return plan_training(
        config,
        features=table.features,
        outputs=training.classes.count,
        samples=len(table.ids),
        is_numbered=table.labels.ndim == 1,
        kinds=training.kinds,
        path=source,
    )


def _training_speed(config: Config, spec: TrainingSpec, table: SampleTable) -> TrainingSpeed:
    """Time stages of one epoch. A real stage begins as many epochs as the configuration gives it."""
    device = device_or_cpu(config.device)
    stages = []
    with deterministic(device, config.cluster.threads):
        trainer = ShardTrainer(replace(spec, epochs=(1,)), 0, device)
        trainer.train_stage(_first_samples(table, WARM_UP_SAMPLES), 0)
        for samples in [_first_samples(table, count) for count in TIMED_SAMPLES] * TIMED_STAGES:
            started = time.perf_counter()
            passes = trainer.train_stage(samples, 0)
            if device.type == "cuda":
                trainer.classifier.mean_loss(samples.features[:1], samples.labels[:1])  # wait for the device
            stages.append(Cost(passes=passes, seconds=time.perf_counter() - started))
    speed = training_speed(stages)
    return replace(speed, seconds_per_stage=speed.seconds_per_stage * median(spec.epochs))


def _first_samples(table: SampleTable, count: int) -> ShardSamples:
    part = table.take(np.arange(min(count, len(table.ids))))
    hashes = identity_hashes(part.ids.tolist(), seed=0, purpose="sample")
    return ShardSamples.ordered(part, hashes=hashes, slices=np.zeros(len(hashes), dtype=np.int64))
