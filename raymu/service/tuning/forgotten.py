"""The trace's samples by shard, and the models that a trial's forgetting error is measured by.

A forgotten sample is measured on the model of its own shard: the ensemble's other constituents never saw it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from raymu.core.audit.signals import Confidences
from raymu.core.partition import Indices, identity_hashes
from raymu.core.records import ShardLineage
from raymu.data.tables import SampleTable
from raymu.service.run_spec import spec_of
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, train_model, true_class_log_odds
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic, device_or_cpu

States = Mapping[int, bytes]
"""Shard -> checkpoint."""


class ForgottenByShard:
    """The forget set of a trace, by the shards that hold it. Shards of which nothing is retained have no model, and are left
    out."""

    def __init__(
        self, store: RunStore, lineages: Sequence[ShardLineage], forgotten: SampleTable, shards: Indices
    ) -> None:
        """Sort the samples by shard.

        Args:
            store: The run.
            lineages: Its shards, in order.
            forgotten: The forget set.
            shards: (samples,) the shard of each.
        """
        self._store, self._lineages = store, lineages
        config = store.config
        self._spec = spec_of(self._store, added_epochs=lineages[0].added_epochs)
        hashes = identity_hashes(forgotten.ids.tolist(), seed=config.partition.seed, purpose="sample")
        rows = {shard: np.flatnonzero(shards == shard) for shard in np.unique(shards).tolist()}
        self._forget = {
            shard: ShardSamples.ordered(
                forgotten.take(shard_rows), hashes=hashes[shard_rows], slices=np.zeros(len(shard_rows), dtype=np.int64)
            )
            for shard, shard_rows in rows.items()
            if lineages[shard].samples > len(shard_rows)
        }

    def states(self, store: RunStore, lineages: Sequence[ShardLineage]) -> States:
        """Read the states that the shards serve, in the run itself or in a branch."""
        return {shard: store.files.read_checked(lineages[shard].serving.file) for shard in self._forget}

    def confidences(self, states: States) -> Confidences:
        """Return log odds of the true label, (samples,) float64, each by the model of its own shard."""
        device = device_or_cpu(self._store.config.device)
        with deterministic(device, self._store.config.cluster.threads):
            parts = [
                true_class_log_odds(
                    Classifier.restore(states[shard], self._spec, device=device, source=f"shard {shard}"), forget
                )
                for shard, forget in self._forget.items()
            ]
        return np.concatenate([np.zeros(0), *parts])

    def retrain(self, number: int) -> States:
        """Train oracles from scratch without the forget set. `number` is from 1, and gives them a seed of their own."""
        return {shard: self._oracle(shard, number).payload for shard in self._forget}

    def _oracle(self, shard: int, number: int) -> AuditedModel:
        forget = self._forget[shard]
        samples = read_shard_samples(self._store, self._lineages[shard].table)
        is_forgotten = samples.isin(forget.hashes)
        nothing = np.zeros(len(samples), dtype=bool)
        audited = AuditSamples.gather(
            samples.where(~is_forgotten),
            samples.where(is_forgotten),
            samples.where(nothing),
            spec=self._spec,
            shard=shard,
            device=self._store.config.device,
            threads=self._store.config.cluster.threads,
        )
        return train_model(audited, ModelKind.ORACLE, number)
