"""A constituent model as it predicts: a module, its loss, and the encoder of its inputs."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from raymu.config import TargetName, TaskName, Trainable
from raymu.core.arrays import Probabilities, Targets
from raymu.core.partition import derive_seed
from raymu.data.rows import Rows
from raymu.data.stored_rows import StoredRows
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.backbone import FEATURES, Backbone
from raymu.training.checkpoint_format import Tensors, deserialize
from raymu.training.checkpoint_metadata import read_metadata
from raymu.training.encoder import Encoder, PreparedSamples
from raymu.training.heads import find_head
from raymu.training.inputs import BatchInputs, Inputs, count, repeated
from raymu.training.losses import Loss, build_loss
from raymu.training.model_state import ModelState
from raymu.training.normalizer import Normalizer
from raymu.training.numerics import Numerics
from raymu.training.randomness import random_state_kept, seed_everything
from raymu.training.spec import TrainingSpec
from raymu.training.targets import TARGETS, Target
from raymu.training.tasks import Task
from raymu.training.tasks.tensor import TensorTask

EVALUATION_BATCH = 4096
"""Samples that are evaluated at once, if they are arrays."""
COLLATED_BATCH = 256
"""Samples that are evaluated at once, if a batch is made of them first: pictures and texts are large."""
_BUILDING = threading.Lock()
"""Held while a model is built from seeded random numbers, which all threads share."""


def weights_seed(spec: TrainingSpec, shard: int) -> int:
    """Return the seed of a shard's new model."""
    return derive_seed(spec.seed, shard, "weights")


def _backbone(model: nn.Module, task: Task, numerics: Numerics, spec: TrainingSpec) -> Backbone | None:
    if spec.model.trainable is not Trainable.HEAD:
        return None
    _, head = find_head(model, spec.model.head)
    pads = task.is_collated and spec.task.name is not TaskName.IMAGE
    return Backbone(model=model, head=head, task=task, numerics=numerics, pads=pads)


@dataclass(kw_only=True, slots=True, eq=False)
class Classifier:
    """A model of one shard."""

    model: nn.Module
    loss: Loss
    classes: int
    """Outputs of the model for each sample."""
    device: torch.device
    task: Task
    target: Target
    scales_targets: bool
    """Whether targets are numbers that are standardised."""
    loading_threads: int = 0
    """Threads that make batches ahead of the step."""
    encoder: Encoder | None = field(default=None)
    """None until a stage has samples to fit the task to."""
    numerics: Numerics = field(default_factory=Numerics)
    """How the model is called."""
    frozen: Tensors = field(default_factory=dict)
    """Tensors of the model that its checkpoints leave out unless they changed, by name."""
    backbone: Backbone | None = field(default=None)
    """What is before the head, if the head alone is trained."""
    _state: ModelState = field(init=False)

    def __post_init__(self) -> None:
        self._state = ModelState(self.model, self.frozen)

    @classmethod
    def build(cls, spec: TrainingSpec, *, device: torch.device) -> "Classifier":
        """Build the configured model with new weights from torch's random state. Raises ConfigInvalid."""
        numerics = Numerics.of(spec.training)
        model, task = numerics.placed(spec.build_model(), device), spec.build_task()
        target = spec.task.target
        return cls(
            model=model,
            loss=build_loss(spec.training.loss, classes=spec.classes, target=target),
            classes=spec.classes,
            device=device,
            task=task,
            target=TARGETS[target],
            scales_targets=target is TargetName.REGRESSION and spec.normalize == "shard",
            loading_threads=spec.loading_threads,
            numerics=numerics,
            frozen=spec.base.frozen if spec.base else {},
            backbone=_backbone(model, task, numerics, spec),
        )

    @classmethod
    def around(cls, model: nn.Module, loss: Loss, *, classes: int) -> "Classifier":
        """Return a classifier whose model is given arrays as they are, on the CPU."""
        task = TensorTask(normalize_setting="none", takes_integers=False)
        as_they_are = Normalizer(mean=torch.zeros(1), scale=torch.ones(1), limit=torch.full((1,), torch.inf))
        return cls(
            model=model,
            loss=loss,
            classes=classes,
            device=torch.device("cpu"),
            task=task,
            target=TARGETS[TargetName.CLASSES],
            scales_targets=False,
            encoder=Encoder(task=task, fitted=as_they_are.tensors()),
        )

    @classmethod
    def restore(cls, payload: bytes, spec: TrainingSpec, *, device: torch.device, source: str) -> "Classifier":
        """Build the classifier of a checkpoint. Raises FileCorrupt, naming `source`, and ConfigInvalid.

        The model is built as its training began: what it draws then, and keeps outside of its state, is the same.
        """
        tensors = deserialize(payload, source=source)
        shard = read_metadata(payload).get("shard", 0)
        with _BUILDING, random_state_kept(device):
            seed_everything(weights_seed(spec, shard))
            classifier = cls.build(spec, device=device)
        classifier.load_tensors(tensors)
        return classifier

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that predictions depend on, by name: parameters, buffers, what the task learned."""
        named = self._state.tensors()
        if self.encoder is not None:
            named |= self.encoder.tensors()
        return named

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned.

        Raises:
            ConfigInvalid: They are of another model; a factory's code may have changed.
        """
        try:
            self._state.load(tensors)
        except (RuntimeError, AttributeError) as error:
            raise ConfigInvalid(
                f"model: the run's checkpoints do not fit it ({one_line(error)}); restore the factory's former code"
            ) from error
        self.encoder = Encoder.load(self.task, tensors)

    def fit(self, rows: Rows | StoredRows, labels: Targets) -> None:
        """Fit the task to samples, of which there must be at least one."""
        self.encoder = Encoder.fit(self.task, rows, labels, scales_targets=self.scales_targets)

    def prepare(self, rows: Rows | StoredRows) -> PreparedSamples:
        """Encode samples, to make batches of them."""
        prepared = self._fitted.prepare(rows, self.device, loading_threads=self.loading_threads)
        return prepared if self.backbone is None else self.backbone.prepare(prepared)

    def prepared(self, inputs: Inputs) -> PreparedSamples:
        """Take samples that are encoded already."""
        return PreparedSamples(
            encoder=self._fitted, inputs=inputs, device=self.device, loading_threads=self.loading_threads
        )

    def targets(self, labels: Targets) -> Tensor:
        """Return targets as the loss takes them, on the device."""
        return self._fitted.targets(labels, self.device)

    @property
    def _fitted(self) -> Encoder:
        assert self.encoder is not None, "a classifier that was never trained has no vote"
        return self.encoder

    @property
    def trained(self) -> nn.Module:
        """The part of the model that training calls: the head, or all of it."""
        return self.model if self.backbone is None else self.backbone.head

    @property
    def evaluation_batch(self) -> int:
        """Samples that are evaluated at once."""
        return COLLATED_BATCH if self.task.is_collated else EVALUATION_BATCH

    def outputs(self, samples: Rows | StoredRows | PreparedSamples) -> Iterator[Tensor]:
        """Run the model in evaluation mode, a batch at a time. Gradients are tracked unless the caller turns them off.

        Args:
            samples: As in the training file, or as `prepare` returned them.

        Yields:
            (batch, outputs) of consecutive samples.
        """
        self.model.eval()
        if not isinstance(samples, PreparedSamples) and self.task.collates_ahead:
            samples = self.prepare(samples)
        if isinstance(samples, PreparedSamples):
            with closing(samples.split(self.evaluation_batch)) as batches:
                yield from map(self._alone_too, batches)
            return
        for start in range(0, len(samples), self.evaluation_batch):
            yield self._alone_too(self.prepare(samples[start : start + self.evaluation_batch]).all())

    def forward(self, batch: BatchInputs) -> Tensor:
        """Run the model as it is set, or its head on features. Returns (samples, outputs)."""
        if self.backbone is not None and isinstance(batch, Mapping) and FEATURES in batch:
            return self.backbone.forward(batch[FEATURES])
        return self.numerics.forward(self.task, self.model, batch)

    def _alone_too(self, batch: BatchInputs) -> Tensor:
        """Run the model. One sample is predicted beside a copy of itself if the model's own code refuses it alone."""
        if count(batch) != 1:
            return self.forward(batch)
        try:
            outputs = self.forward(batch)
        except Exception:  # of the model's own code; beside its copy, what is wrong otherwise is raised again
            return self.forward(repeated(batch, 2))[:1]
        return outputs if outputs.shape == (1, self.classes) else self.forward(repeated(batch, 2))[:1]

    def probabilities(self, rows: Rows | StoredRows) -> Probabilities:
        """Predict.

        Args:
            rows: Samples, as in the training file.

        Returns:
            (samples, outputs) float32: probabilities, or numbers in the unit of the training file.
        """
        with torch.no_grad():
            parts = [
                self._fitted.in_units_of_targets(self.target.predict(outputs)).cpu() for outputs in self.outputs(rows)
            ]
        return torch.cat([torch.zeros(0, self.classes), *parts]).numpy()

    def predictions(self, batch: BatchInputs) -> Tensor:
        """Predict one batch in evaluation mode. Returns (samples, outputs) float32 on the CPU, as `probabilities` does."""
        return self._fitted.in_units_of_targets(self.target.predict(self._alone_too(batch))).cpu()

    def agreement(self, rows: Rows | StoredRows, labels: Targets) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Return how far predictions agree with the truth, (samples,) in [0, 1]: of classes, the true one's probability."""
        with torch.no_grad():
            targets = self.targets(labels).split(self.evaluation_batch)
            parts = [
                self.target.agreement(self.target.predict(outputs), truth).double().cpu()
                for outputs, truth in zip(self.outputs(rows), targets, strict=False)
            ]
        return torch.cat([torch.zeros(0, dtype=torch.float64), *parts]).numpy()

    def mean_loss(self, samples: Rows | StoredRows | PreparedSamples, labels: Targets | Tensor) -> float:
        """Compute the mean loss per sample in evaluation mode: in nats, if it is cross-entropy.

        Args:
            samples: As for `outputs`.
            labels: As in the training file, or as `targets` returned them.
        """
        all_targets = labels.to(self.device) if isinstance(labels, Tensor) else self.targets(labels)
        total = 0.0
        with torch.no_grad():
            for outputs, targets in zip(self.outputs(samples), all_targets.split(self.evaluation_batch), strict=True):
                total += float(self.loss(outputs, targets, "sum"))
        return total / len(labels)
