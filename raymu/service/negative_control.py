"""The negative control: the affected shards fine-tuned, with nothing subtracted.

The control forgets nothing and is never a remedy. It shows that accuracy alone cannot prove forgetting.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from raymu.core.arrays import Probabilities
from raymu.core.partition import identity_hashes
from raymu.core.records import SampleId
from raymu.data.rows import Rows
from raymu.service.prediction import Ensemble
from raymu.service.run_spec import spec_of
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from raymu.training.determinism import deterministic
from raymu.training.patch import fine_tune_as_control
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NegativeControl:
    """The fine-tuned ensemble and what the fine-tuning cost."""

    ensemble: Ensemble
    states: Mapping[int, bytes]
    """Fine-tuned shard -> checkpoint."""
    passes: float
    """Sample passes over all fine-tuned shards."""
    seconds: float
    """Compute seconds over all fine-tuned shards."""

    def predict(self, features: Rows) -> Probabilities:
        """Return class probabilities: (samples, classes) float32."""
        return self.ensemble.predict(features)


def negative_control(store: RunStore, sample_ids: Collection[SampleId]) -> NegativeControl:
    """Fine-tune each voting shard that holds one of the samples, as *patch and fine-tune* does before its patch.

    The run must be free of debt. Nothing is written.
    """
    config, generation = store.config, store.current()
    spec = spec_of(store, added_epochs=generation.lineages[0].added_epochs)
    forget = identity_hashes(sample_ids, seed=spec.seed, purpose="sample")
    device = torch.device("cpu")
    voting = {constituent.shard for constituent in generation.constituents if constituent.checkpoint}
    payloads: dict[int, bytes] = {}
    passes, seconds = 0.0, 0.0
    with deterministic(device, config.cluster.threads) as determinism:
        for lineage in generation.lineages:
            if lineage.shard not in voting:  # an empty shard abstains
                continue
            samples = read_shard_samples(store, lineage.table)
            is_forgotten = samples.isin(forget)
            if not is_forgotten.any():
                continue
            trainer = ShardTrainer(spec, lineage.shard, device)
            trainer.load(store.files.read_checked(lineage.serving.file), source=lineage.serving.file.path)
            started = time.perf_counter()
            passes += fine_tune_as_control(
                trainer, samples.where(~is_forgotten), spec=spec, shard=lineage.shard, ohs=config.unlearning.ohs
            )
            seconds += time.perf_counter() - started
            payloads[lineage.shard], _ = trainer.dump(stage=lineage.slices - 1, determinism=determinism.json())
    ensemble = Ensemble(store, generation, device=device).replacing(payloads)
    return NegativeControl(ensemble=ensemble, states=payloads, passes=passes, seconds=seconds)
