"""Predictions from one pinned generation."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import torch

from raymu.config.unlearning import OnAccept
from raymu.core.aggregate import AGGREGATIONS, voters_of
from raymu.core.arrays import Features, Probabilities
from raymu.core.board.serving import served_constituent
from raymu.core.records import Constituent, Generation, ShardLineage
from raymu.data.columns import as_features
from raymu.errors import DataInvalid, FileMissing, NoVoters
from raymu.store.files.concurrency import map_concurrently
from raymu.store.run import RunStore
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic, device_or_cpu
from raymu.training.spec import TrainingSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Shares of correct answers on a labelled table. constituent_accuracy: shard -> alone, voters only"""

    generation: int
    samples: int
    accuracy: float
    constituent_accuracy: dict[int, float]


def repaired_generation(lineages: Sequence[ShardLineage]) -> Generation:
    """What would be served if every shard served its repaired state; it is published nowhere."""
    return Generation(
        number=0,
        previous_sha256="",
        cause="trial",
        request_ids=(),
        published_at=datetime.fromtimestamp(0, UTC),
        constituents=tuple(
            served_constituent(lineage, pending_from=None, on_accept=OnAccept.KEEP) for lineage in lineages
        ),
        lineages=tuple(lineages),
    )


def read_states(store: RunStore, generation: Generation) -> list[bytes]:
    """Read the checkpoints of a generation's voters, side by side. Raises FileMissing, FileCorrupt."""
    files = [constituent.checkpoint.file for constituent in generation.constituents if constituent.checkpoint]
    return map_concurrently(store.files.read_checked, files)


class Ensemble:
    """The constituents of one generation that vote, loaded and checked."""

    def __init__(
        self,
        store: RunStore,
        generation: Generation,
        *,
        device: torch.device | None = None,
        states: Sequence[bytes] | None = None,
    ) -> None:
        """device: the one that the run is trained on where not given, or the CPU where that is not here

        Raises NoVoters where every shard abstains; FileMissing, FileCorrupt.
        """
        manifest, config = store.manifest, store.config
        self._plan = TrainingSpec.of(config, input_shape=manifest.input_shape, classes=manifest.classes)
        self.generation = generation
        self._threads = config.cluster.threads
        self._device = device or device_or_cpu(config.device)
        self._input_shape = manifest.input_shape
        self._aggregate = AGGREGATIONS[config.unlearning.aggregation]
        self._voters: list[Constituent] = [
            constituent for constituent in generation.constituents if constituent.checkpoint
        ]
        self._weights = voters_of(self._voters, config.partition.slices)
        if not self._voters:
            raise NoVoters(generation.number)
        self._classifiers: list[Classifier] = []
        files = [voter.checkpoint.file for voter in self._voters if voter.checkpoint]
        for file, payload in zip(files, states or read_states(store, generation), strict=True):
            self._classifiers.append(Classifier.restore(payload, self._plan, device=self._device, source=file.path))

    @classmethod
    def current(cls, store: RunStore) -> "Ensemble":
        """Of the current generation, also where others supersede it, and destroy it, while it is being loaded."""
        while True:
            generation = store.current()
            try:
                return cls(store, generation)
            except FileMissing:
                if store.current().number == generation.number:
                    raise

    def replacing(self, payloads: Mapping[int, bytes]) -> "Ensemble":
        """The same voters, with other models in the places of some shards. payloads: shard -> checkpoint"""
        other = copy(self)
        other._classifiers = [
            Classifier.restore(payloads[voter.shard], self._plan, device=self._device, source=f"shard {voter.shard}")
            if voter.shard in payloads
            else classifier
            for voter, classifier in zip(self._voters, self._classifiers, strict=True)
        ]
        return other

    def predict(self, features: Features) -> Probabilities:
        """features: (samples, *input shape). returns: (samples, classes) float32. Raises DataInvalid on another shape"""
        return self._aggregate(self._probabilities(features), self._weights)

    def evaluate(self, features: Features, labels: npt.NDArray[np.int64]) -> Evaluation:
        """labels: (samples,) int64. Raises DataInvalid"""
        if len(labels) != len(features) or not len(labels):
            raise DataInvalid("labels", f"are {len(labels)} for {len(features)} samples; give one for each")
        probabilities = self._probabilities(features)
        answers = self._aggregate(probabilities, self._weights).argmax(axis=1)
        alone = (probabilities.argmax(axis=2) == labels).mean(axis=1)
        return Evaluation(
            generation=self.generation.number,
            samples=len(labels),
            accuracy=float((answers == labels).mean()),
            constituent_accuracy={voter.shard: float(share) for voter, share in zip(self._voters, alone, strict=True)},
        )

    def _probabilities(self, features: Features) -> Probabilities:
        """returns: (voters, samples, classes) float32"""
        if features.shape[1:] != self._input_shape:
            raise DataInvalid(
                "features",
                f"have shape {features.shape[1:]}, the run was trained on {self._input_shape}; give such samples",
            )
        features = as_features("features", features)
        with deterministic(self._device, self._threads):
            return np.stack([classifier.probabilities(features) for classifier in self._classifiers])
