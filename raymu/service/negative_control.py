"""The no-subtraction control: fine-tune touched shards and subtract nothing. It forgets nothing, and is never a remedy.

Without it, accuracy alone would make any fine-tuning look like forgetting.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from raymu.core.aggregate import AGGREGATIONS, Probabilities, voters_of
from raymu.core.partition import identity_hashes
from raymu.core.records import Constituent, SampleId
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic
from raymu.training.normalizer import Features
from raymu.training.patch import fine_tune_as_control
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ControlModel:
    """The run's constituents that vote, the touched ones fine-tuned as `ohs` does. seconds: of compute"""

    store: RunStore
    voters: tuple[Constituent, ...]
    classifiers: tuple[Classifier, ...]
    passes: float
    seconds: float

    def predict(self, features: Features) -> Probabilities:
        """returns: (samples, classes) float32"""
        config = self.store.config
        weights = voters_of(self.voters, config.partition.slices)
        probabilities = np.stack([classifier.probabilities(features) for classifier in self.classifiers])
        return AGGREGATIONS[config.unlearning.aggregation](probabilities, weights)


def negative_control(store: RunStore, sample_ids: Collection[SampleId]) -> ControlModel:
    """The control for a request of these samples, on a run that serves all that it has in full. Writes nothing."""
    manifest, config, generation = store.manifest, store.config, store.current()
    plan = TrainingSpec.of(config, input_shape=manifest.input_shape, classes=manifest.classes)
    forget = identity_hashes(sample_ids, seed=plan.seed, purpose="sample")
    device, ohs = torch.device("cpu"), config.unlearning.ohs
    voters = tuple(one for one in generation.constituents if one.checkpoint)  # an emptied shard abstains
    voting = {one.shard for one in voters}
    classifiers: list[Classifier] = []
    passes, seconds = 0.0, 0.0
    with deterministic(device, config.cluster.threads):
        for lineage in (one for one in generation.lineages if one.shard in voting):
            samples = read_shard_samples(store, lineage.table)
            training = ShardTrainer(plan, lineage.shard, device)
            training.load(store.files.read_checked(lineage.serving.file), source=lineage.serving.file.path)
            is_forgotten = samples.held_in(forget)
            if is_forgotten.any():
                started = time.perf_counter()
                retain = samples.where(~is_forgotten)
                passes += fine_tune_as_control(training, retain, plan=plan, shard=lineage.shard, ohs=ohs)
                seconds += time.perf_counter() - started
            classifiers.append(training.classifier)
    return ControlModel(store=store, voters=voters, classifiers=tuple(classifiers), passes=passes, seconds=seconds)
