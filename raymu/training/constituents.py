"""The models of an ensemble as they predict together: batch by batch, with what can be shared between them done once."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property

import numpy as np
import torch

from raymu.core.arrays import Probabilities
from raymu.data.rows import Columns, Rows
from raymu.training.classifier import COLLATED_BATCH, Classifier
from raymu.training.ensemble_module import encode_alike
from raymu.training.inputs import BatchInputs, batch_of, to_device
from raymu.training.plain_models import PlainModels, Scratch
from raymu.training.stacked import StackedModels

PREDICTED_BATCH = 1024
"""Samples that are predicted at once, if they are arrays: more leave a processor's cache."""


class Constituents:
    """Loaded classifiers of one ensemble. They predict the same bits alone, as far as a batch is the same."""

    def __init__(self, classifiers: Sequence[Classifier], input_shape: tuple[int, ...]) -> None:
        """Take classifiers.

        Args:
            classifiers: Of the shards that vote, in their order.
            input_shape: Shape of one sample, if it is an array.
        """
        self.classifiers, self._input_shape = list(classifiers), input_shape
        for classifier in self.classifiers:
            classifier.model.eval()

    @cached_property
    def _stacked(self) -> StackedModels | None:
        return StackedModels.of(self.classifiers, self._input_shape)

    @cached_property
    def _plain(self) -> PlainModels | None:
        return PlainModels.of(self.classifiers)

    @cached_property
    def _shares_batches(self) -> bool:
        """Whether a batch is made once for all, as of pictures: what a shard has learned only enters afterwards."""
        encoders = [each.encoder for each in self.classifiers if each.encoder is not None and each.backbone is None]
        return len(encoders) == len(self.classifiers) and encode_alike(encoders)

    @property
    def batch_rows(self) -> int:
        """Samples that are predicted at once. Where batches begin may change the last bit of what a model computes."""
        return COLLATED_BATCH if self.classifiers[0].task.is_collated else PREDICTED_BATCH

    def batches(self, rows: Rows) -> Iterator[Probabilities]:
        """Predict, a batch at a time.

        Args:
            rows: Samples, as in the training file.

        Yields:
            (voters, samples, outputs) float32 of consecutive samples.
        """
        with torch.no_grad():
            if not isinstance(rows, Columns) and (stacked := self._stacked) is not None and stacked.takes(rows):
                yield stacked.predict(rows).cpu().numpy()
            elif self._shares_batches and self.classifiers[0].task.is_collated:
                yield from self._of_shared_batches(rows)
            elif self.classifiers[0].task.collates_ahead:
                yield np.stack([classifier.probabilities(rows) for classifier in self.classifiers])
            else:
                yield from self._of_parts(rows)

    def _of_shared_batches(self, rows: Rows) -> Iterator[Probabilities]:
        first = self.classifiers[0]
        assert first.encoder is not None, "it votes"
        prepared = first.encoder.prepare(rows, first.device, loading_threads=first.loading_threads)
        with closing(prepared.collated_parts(COLLATED_BATCH)) as parts:
            for part in parts:
                batch = batch_of(to_device(part, first.device))
                yield np.stack([each.predictions(_normalized(each, batch)).numpy() for each in self.classifiers])

    def _of_parts(self, rows: Rows) -> Iterator[Probabilities]:
        plain = None if isinstance(rows, Columns) else self._plain
        scratch: Scratch = {}
        for start in range(0, len(rows), self.batch_rows):
            part = rows[start : start + self.batch_rows]
            if plain is not None and not isinstance(part, Columns) and plain.takes(part):
                yield plain.predict(part, scratch).numpy()
            else:
                yield np.stack([each.predictions(each.prepare(part).all()).numpy() for each in self.classifiers])


def _normalized(classifier: Classifier, batch: BatchInputs) -> BatchInputs:
    assert classifier.encoder is not None, "it votes"
    return classifier.task.normalize(batch, classifier.encoder.fitted)
