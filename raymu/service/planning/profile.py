"""What is known of a run before it is trained: who could ask it to forget, and how fast this machine would train it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np

from raymu.config import Config, PartitionConfig
from raymu.core.partition import identity_hashes
from raymu.core.planning.trace import RevocableSamples
from raymu.data.tables import SampleTable, fit_classes, read_table
from raymu.service.ingest import plan_training
from raymu.service.planning.population import imagined_population, planned_population
from raymu.training.batches import ShardSamples
from raymu.training.determinism import deterministic, device_or_cpu
from raymu.training.models import check_model
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer

WARM_UP_SAMPLES, TIMED_SAMPLES, TIMED_EPOCHS = 128, 1024, 3
"""The first batches of a process are slow; the median of a few short epochs tells the speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """populate: who would be where in a layout; seconds_per_pass: of one sample forward, backward and in a step"""

    populate: Callable[[PartitionConfig], RevocableSamples]
    seconds_per_pass: float
    has_batch_norm: bool = False


def imagined_survey(samples: int, *, seconds_per_pass: float) -> Profile:
    """Where the data are not there yet: see imagined_population. For models without batch norm."""
    return Profile(populate=partial(imagined_population, samples), seconds_per_pass=seconds_per_pass)


def profile(config: Config) -> Profile:
    """Read and check the training data, and train on some of them for a moment. Nothing is written.

    Raises DataInvalid, ConfigInvalid.
    """
    table = read_table(config.data.train, config.data)
    classes = fit_classes(table.labels, config.data.classes)
    plan = plan_training(config, table, classes)
    return Profile(
        populate=partial(planned_population, table),
        seconds_per_pass=_timed(config, plan, table),
        has_batch_norm=check_model(plan.model, input_shape=plan.input_shape, classes=plan.classes),
    )


def _timed(config: Config, plan: TrainingSpec, table: SampleTable) -> float:
    """Measured seconds per pass."""
    device = device_or_cpu(config.device)
    seconds_per_pass = []
    with deterministic(device, config.cluster.threads):
        training = ShardTrainer(replace(plan, epochs=(1,)), 0, device)
        training.train_stage(_some(table, WARM_UP_SAMPLES), 0)
        samples = _some(table, TIMED_SAMPLES)
        for _ in range(TIMED_EPOCHS):
            started = time.perf_counter()
            passes = training.train_stage(samples, 0)
            if device.type == "cuda":
                training.classifier.loss_on(samples.features[:1], samples.labels[:1])  # waits for the device
            seconds_per_pass.append((time.perf_counter() - started) / passes)
    return median(seconds_per_pass)


def _some(table: SampleTable, count: int) -> ShardSamples:
    part = table.take(np.arange(min(count, len(table.ids))))
    hashes = identity_hashes(part.ids.tolist(), seed=0, purpose="sample")
    return ShardSamples.ordered(part, hashes=hashes, slices=np.zeros(len(hashes), dtype=np.int64))
