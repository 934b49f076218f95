"""Predictions of one generation's ensemble."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import torch

from raymu.config import TargetName
from raymu.config.unlearning import OnAccept
from raymu.core.aggregate import AGGREGATIONS, voters_of
from raymu.core.arrays import Features, Probabilities, Targets
from raymu.core.board.serving import served_constituent
from raymu.core.certainty import Marks, OpenVotes
from raymu.core.records import Constituent, FileRef, Generation, ShardLineage
from raymu.data.columns import as_features
from raymu.data.rows import Columns, Rows
from raymu.errors import DataInvalid, FileMissing, NoVoters
from raymu.service.followed_history import FollowedHistory
from raymu.service.run_spec import spec_of
from raymu.service.served import awaited_shards, served_generation
from raymu.service.tally import Tally
from raymu.store.files.concurrency import map_concurrently
from raymu.store.run import RunStore
from raymu.training.classifier import Classifier
from raymu.training.constituents import Constituents
from raymu.training.determinism import device_or_cpu, pinned
from raymu.training.ensemble_module import EnsembleModule


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The score on a labelled table: the share of correct predictions, or for numbers the explained share of the variance."""

    generation: int
    samples: int
    accuracy: float
    constituent_accuracy: dict[int, float]
    """Shard -> accuracy of its model alone. Shards that abstain are missing."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Further metrics of the ensemble by name, such as macro_f1 or rmse; empty where they were not asked for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """Predictions of some samples, all of one generation."""

    generation: int
    outputs: Probabilities
    """(samples, outputs) float32: probabilities of classes or labels, or numbers."""
    certain: Marks | None
    """(samples,) whether no shard that is rewound, abstains, is patched or waits can change the class; None unless the run
    predicts classes."""


def repaired_generation(lineages: Sequence[ShardLineage]) -> Generation:
    """Return a generation, published nowhere, in which every shard serves its repaired state."""
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
    """The voting constituents of one generation, loaded and checked."""

    def __init__(
        self,
        store: RunStore,
        generation: Generation,
        *,
        device: torch.device | None = None,
        states: Sequence[bytes] | None = None,
        earlier: "Ensemble | None" = None,
        awaited: Collection[int] = (),
    ) -> None:
        """Load a generation.

        Args:
            store: The run.
            generation: One of its generations.
            device: The default is the device that the run is configured for, or the CPU if that is not available.
            states: The checkpoints, as `read_states` returns them. The default reads them.
            earlier: An ensemble of the run, whose models are taken over where the generation has them too.
            awaited: Shards that requests wait for although they are not rewound, as with `on_accept: keep`.

        Raises:
            NoVoters: Every shard abstains.
            FileMissing: A checkpoint is missing.
            FileCorrupt: A checkpoint is not what was written.
        """
        manifest, config = store.manifest, store.config
        self._plan = spec_of(store)
        self.generation = generation
        self.awaited = frozenset(awaited)
        """Shards that requests wait for although they are not rewound."""
        self._threads = config.cluster.threads
        self._device = device or device_or_cpu(config.device)
        self._input_shape = manifest.input_shape
        self._classes = manifest.class_table
        self._aggregation = config.unlearning.aggregation
        self._aggregate = AGGREGATIONS[self._aggregation]
        self._open_votes = OpenVotes.of(
            generation.constituents, generation.lineages, aggregation=self._aggregation, awaited=self.awaited
        )
        self._voters: list[Constituent] = [served for served in generation.constituents if served.checkpoint]
        self._weights = voters_of(self._voters, generation.lineages[0].slices)
        if not self._voters:
            raise NoVoters(generation.number)
        self._files = [voter.checkpoint.file for voter in self._voters if voter.checkpoint]
        loaded: dict[FileRef, Classifier] = (
            dict(zip(earlier._files, earlier._classifiers, strict=True)) if earlier else {}
        )
        new = [file for file in self._files if file not in loaded]
        payloads = map_concurrently(store.files.read_checked, new) if states is None else states
        for file, payload in zip(new, payloads, strict=True):
            loaded[file] = Classifier.restore(payload, self._plan, device=self._device, source=file.path)
        self._classifiers: list[Classifier] = [loaded[file] for file in self._files]
        self._constituents = Constituents(self._classifiers, self._input_shape)

    @classmethod
    def current(
        cls,
        store: RunStore,
        *,
        device: torch.device | None = None,
        earlier: "Ensemble | None" = None,
        followed: FollowedHistory | None = None,
    ) -> "Ensemble":
        """Load the generation that is served now, and start again if another supersedes it meanwhile.

        Args:
            store: The run.
            device: As for a new ensemble.
            earlier: As for a new ensemble.
            followed: The run's history as far as it was read before. By default, it is read anew.
        """
        followed = followed or FollowedHistory(store)
        while True:
            generation, awaited = served_generation(store, followed=followed), awaited_shards(store, followed=followed)
            try:
                return cls(store, generation, device=device, earlier=earlier, awaited=awaited)
            except FileMissing:
                if served_generation(store, followed=followed) == generation:
                    raise

    def replacing(self, payloads: Mapping[int, bytes]) -> "Ensemble":
        """Return a copy in which some shards have other models, given as shard -> checkpoint."""
        other = copy(self)
        other._classifiers = [
            Classifier.restore(payloads[voter.shard], self._plan, device=self._device, source=f"shard {voter.shard}")
            if voter.shard in payloads
            else classifier
            for voter, classifier in zip(self._voters, self._classifiers, strict=True)
        ]
        other._constituents = Constituents(other._classifiers, self._input_shape)
        return other

    def module(self) -> EnsembleModule:
        """Return the ensemble as a module for plain PyTorch, which shares its tensors."""
        return EnsembleModule(
            self._classifiers, aggregation=self._aggregation, voters=self._weights, target=self._plan.task.target
        )

    @property
    def outputs(self) -> int:
        """Outputs for each sample."""
        return self._plan.classes

    @property
    def batch_rows(self) -> int:
        """Samples that are predicted at once. Parts that begin at multiples of it have the bits of the whole."""
        return self._constituents.batch_rows

    def predict(self, features: Rows) -> Probabilities:
        """Predict.

        Args:
            features: (samples, *input shape), or the run's columns.

        Returns:
            (samples, outputs) float32: probabilities, or numbers.

        Raises:
            DataInvalid: The features have another shape.
        """
        return self.predict_marked(features).outputs

    def predict_marked(self, features: Rows) -> Predictions:
        """Predict as `predict` does, and mark the answers that are certain. Raises DataInvalid."""
        rows = self._checked(features)
        predictions = np.zeros((len(rows), self._plan.classes), dtype=np.float32)
        has_classes = self._plan.task.target is TargetName.CLASSES
        certain = np.ones(len(rows), dtype=np.bool_) if has_classes else None
        with pinned(self._device, self._threads):
            start = 0
            for batch in self._constituents.batches(
                rows
            ):  # aggregated batch by batch: all at once may not fit into memory
                stop = start + batch.shape[1]
                predictions[start:stop] = self._aggregate(batch, self._weights)
                if certain is not None:
                    certain[start:stop] = self._open_votes.certain(batch)
                start = stop
        return Predictions(generation=self.generation.number, outputs=predictions, certain=certain)

    def evaluate(self, features: Rows, labels: Targets, *, has_metrics: bool = False) -> Evaluation:
        """Measure the score against labels.

        Args:
            features: (samples, *input shape), or the run's columns.
            labels: (samples,) int64 or (samples, outputs) float32.
            has_metrics: Whether further metrics are computed.

        Raises:
            DataInvalid: Samples and labels differ in number, or the features have another shape.
        """
        if len(labels) != len(features) or not len(labels):
            raise DataInvalid("labels", f"are {len(labels)} for {len(features)} samples; give one for each")
        tally = self.tally(has_metrics=has_metrics)
        self.add_to(tally, features, labels)
        return self.evaluation(tally)

    def tally(self, *, has_metrics: bool) -> Tally:
        """Begin an evaluation. has_metrics: Whether further metrics are computed"""
        return Tally(self._plan.task.target, voters=len(self._voters), has_metrics=has_metrics)

    def add_to(self, tally: Tally, features: Rows, labels: Targets) -> None:
        """Evaluate samples, as of `evaluate`, as a part of a larger table. Raises DataInvalid."""
        rows = self._checked(features)
        with pinned(self._device, self._threads):
            start = 0
            for votes in self._constituents.batches(rows):
                targets = labels[start : start + votes.shape[1]]
                tally.add(votes, self._aggregate(votes, self._weights), targets)
                start += len(targets)

    def evaluation(self, tally: Tally) -> Evaluation:
        """Return the evaluation of all samples of a tally, which has some."""
        alone = tally.scores_alone()
        return Evaluation(
            generation=self.generation.number,
            samples=tally.samples,
            accuracy=tally.score(),
            constituent_accuracy={voter.shard: share for voter, share in zip(self._voters, alone, strict=True)},
            metrics=tally.metrics(self._classes),
        )

    def _checked(self, features: Rows) -> Rows:
        """Return samples as the models take them. Raises DataInvalid."""
        if isinstance(features, Columns):
            self._classifiers[0].task.check(features.table, "the table")
            return features
        return self._as_array(features)

    def _as_array(self, features: Features) -> Features:
        if features.shape[1:] != self._input_shape:
            raise DataInvalid(
                "features",
                f"have shape {features.shape[1:]}, the run was trained on {self._input_shape}; give such samples",
            )
        features = as_features("features", features, is_wide=True)
        if self._plan.takes_integers and features.dtype.kind == "f" and (features != np.floor(features)).any():
            raise DataInvalid("features", "have fractions, and the run's model takes integers; give such samples")
        return features
