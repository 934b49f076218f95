"""Measures how far a repair moved the predictions of its shard, while the worker still has both states."""

import numpy as np
import numpy.typing as npt
import torch

from raymu.core.commands import RepairShard
from raymu.core.prediction_change import MOST_SAMPLES, PredictionChange, mean_change
from raymu.core.records import FileRef, ShardLineage
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable
from raymu.service.shard.files import StateCache, read_shard_samples
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.spec import TrainingSpec


class ChangeMeter:
    """Compares two states of one shard."""

    def __init__(self, spec: TrainingSpec, files: StateCache, *, device: torch.device) -> None:
        self._spec, self._files, self._device = spec, files, device

    def measure(
        self,
        before: ShardLineage,
        after: ShardLineage,
        *,
        forget: ShardSamples,
        retain: ShardSamples,
        unseen: ShardSamples | None,
    ) -> PredictionChange | None:
        """Compare the states that a shard serves before and after a repair.

        Args:
            before: The shard before the repair.
            after: The shard after it.
            forget: The samples that the repair forgot.
            retain: The samples that the shard retains.
            unseen: Samples of another shard; None if there is no other.

        Returns:
            The change; None if the state before is lost, or if either state has never seen a sample.
        """
        kinds = [_first(samples) for samples in (forget, retain, unseen)]
        try:
            states = [self._probabilities(lineage.serving.file, kinds) for lineage in (before, after)]
        except (FileMissing, FileCorrupt, FileUnreadable):  # a repair of lost files has no state to compare with
            return None
        if None in states:
            return None
        forgotten, retained, others = (mean_change(*pair) for pair in zip(*filter(None, states), strict=True))
        return PredictionChange(forgotten=forgotten, retained=retained, unseen=others)

    def _probabilities(self, file: FileRef, kinds: list[ShardSamples | None]) -> list[npt.NDArray[np.float64]] | None:
        """Predict the true labels' probabilities, (samples,) for each kind. None for a state that was never trained."""
        classifier = Classifier.restore(self._files.read(file), self._spec, device=self._device, source=file.path)
        if classifier.encoder is None:
            return None
        return [_true_probabilities(classifier, samples) for samples in kinds]


def read_unseen(store: RunStore, command: RepairShard, forgotten: npt.NDArray[np.uint64]) -> ShardSamples | None:
    """Read the samples of another shard that serve a repair as unseen ones; None if there is no other shard.

    Args:
        store: The run.
        command: The repair.
        forgotten: (samples,) uint64, hashes of that shard's revoked samples, which may not serve.

    Raises:
        FileMissing: The table is gone.
        FileCorrupt: The table is damaged.
    """
    if not command.references:
        return None
    others = read_shard_samples(store, command.references[0].table)
    return others.where(~others.isin(forgotten))


def _first(samples: ShardSamples | None) -> ShardSamples | None:
    """Choose MOST_SAMPLES samples by their hashes, or all if there are fewer."""
    if samples is None or len(samples) <= MOST_SAMPLES:
        return samples
    is_chosen = np.zeros(len(samples), dtype=bool)
    is_chosen[samples.hashes.argsort()[:MOST_SAMPLES]] = True
    return samples.where(is_chosen)


def _true_probabilities(classifier: Classifier, samples: ShardSamples | None) -> npt.NDArray[np.float64]:
    if samples is None:
        return np.zeros(0)
    return classifier.agreement(samples.features, samples.labels)
