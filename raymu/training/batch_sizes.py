"""The sizes of batches that a model can be trained on: those that it may refuse are tried out, or left out."""

from collections.abc import Mapping

from raymu.training.batches import BatchPlan, part_lengths
from raymu.training.classifier import Classifier
from raymu.training.measures import unmetered
from raymu.training.model_trial import can_train_on
from raymu.training.models import has_batch_norm, normalizes_batches
from raymu.training.randomness import Generator, random_state_kept
from raymu.training.spec import TrainingSpec


class BatchSizes:
    """Tells which sizes a model takes. It remembers the trials."""

    def __init__(
        self,
        classifier: Classifier,
        spec: TrainingSpec,
        *,
        ranks: int,
        generators: Mapping[str, Generator],
    ) -> None:
        """Look at the layers of a model.

        Args:
            classifier: The model.
            spec: What training depends on.
            ranks: Number of ranks that share each batch.
            generators: The generators of the model's own code, by name, which a trial leaves as they are.
        """
        self._classifier, self._spec, self._ranks, self._generators = classifier, spec, ranks, generators
        self._has_batch_norm = has_batch_norm(classifier.trained)
        self._normalizes_batches = normalizes_batches(classifier.trained)
        self._accepted: dict[int, bool] = {}

    def fitting(self, batches: BatchPlan) -> BatchPlan:
        """Leave out what the model cannot be trained on.

        A model with batch norm cannot train on a batch of one sample: such batches are left out. With virtual batches,
        without running statistics, or in a factory's model, other sizes can be refused: then some samples are left out.
        """
        if self._has_batch_norm:
            batches = batches.drop_singletons()
        return batches.fitting(self._accepts) if self._is_tried else batches

    @property
    def min_part(self) -> int:
        """The fewest samples of a rank's part of a batch."""
        is_single_enough = not self._normalizes_batches and (not self._is_tried or self.takes(1))
        return 1 if is_single_enough else 2

    @property
    def _is_tried(self) -> bool:
        """Whether sizes of batches are tried out: some layers, and code of the user's, may refuse some."""
        return self._normalizes_batches or self._spec.model.factory is not None

    def _accepts(self, samples: int) -> bool:
        """Return whether the model can be trained on a batch of so many samples, by all ranks."""
        sizes = [samples]
        for parts in (self._ranks, self._spec.training.accumulate):
            if parts > 1:
                sizes = [part for size in sizes for part in part_lengths(size, parts, min_samples=self.min_part)]
        return all(map(self.takes, sizes))

    def takes(self, samples: int) -> bool:
        """Return whether the model can be trained on so many samples at once, by a trial for each number.

        A model that fails on three samples of zeros can be trained on others, and trials say nothing about it.
        """
        if not self._normalizes_batches and samples != 3 and not self.takes(3):
            return True
        if samples not in self._accepted:
            with random_state_kept(self._classifier.device, self._generators), unmetered(self._classifier):
                self._accepted[samples] = can_train_on(self._classifier, self._spec, samples)
        return self._accepted[samples]
