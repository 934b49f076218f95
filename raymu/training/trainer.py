"""Training one shard, stage by stage, in an order that depends on identity alone."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from raymu.config import TrainingConfig
from raymu.config.training import OptimizerName
from raymu.core.partition import derive_seed
from raymu.core.schedule import learning_rate
from raymu.errors import RankLost, TrainingFailed
from raymu.text import one_line
from raymu.training.batches import BatchPlan, ShardSamples, grouped_batches, shuffled_batches
from raymu.training.checkpoint_format import deserialize, read_metadata, serialize, strip_prefix, weights_sha256
from raymu.training.classifier import Classifier
from raymu.training.contributions import UpdateRecorder
from raymu.training.models import build_model, has_batch_norm
from raymu.training.normalizer import Normalizer
from raymu.training.ranks import Ranks, SimulatedRanks
from raymu.training.spec import TrainingSpec
from raymu.training.steps import parted_batches, whole_batches


class ShardTrainer:
    """The complete training state of one shard: classifier and optimizer. A checkpoint holds all of it."""

    def __init__(self, plan: TrainingSpec, shard: int, device: torch.device, ranks: Ranks | None = None) -> None:
        """Initial weights derive from (seed, shard). ranks: as many as the plan has; played here where not given"""
        torch.manual_seed(derive_seed(plan.seed, shard, "weights"))
        model = build_model(plan.model, input_shape=plan.input_shape, classes=plan.classes).to(device)
        self._plan, self._shard = plan, shard
        self._ranks = ranks or SimulatedRanks(plan.workers)
        self._needs_pairs = has_batch_norm(model)
        self.classifier = Classifier(model=model, classes=plan.classes, device=device)
        self.optimizer = make_optimizer(model.parameters(), plan.training)
        self._ready: tuple[ShardSamples, Tensor, Tensor] | None = None
        self._classes: frozenset[str] = frozenset()

    def load(self, payload: bytes, *, source: str) -> None:
        """Take up the state of a checkpoint. Raises FileCorrupt."""
        tensors = deserialize(payload, source=source)
        self.classifier.load_tensors(tensors)
        self._ready = None  # normalised by what the checkpoint has, from here on
        written = read_metadata(payload)
        self._classes = frozenset((written["determinism"], *written.get("earlier_classes", ())))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in strip_prefix(tensors, "optimizer.").items():
            position, _, key = name.partition(".")
            state.setdefault(int(position), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def dump(self, *, stage: int, determinism: str) -> tuple[bytes, str]:
        """The checkpoint after a stage. returns: the file's bytes, and the hash of what predictions are made from

        Raises TrainingFailed where the weights have left the numbers.
        """
        predictive = self.classifier.tensors()
        if not all(weight.isfinite().all() for weight in self.classifier.model.parameters()):
            problem = "its weights became infinite or NaN; lower training.learning_rate, or normalise the features"
            raise TrainingFailed(self._shard, stage, problem)
        states = self.optimizer.state_dict()["state"]
        kept = {f"optimizer.{position}.{key}": value for position, of in states.items() for key, value in of.items()}
        tensors = predictive | {name: value for name, value in kept.items() if isinstance(value, Tensor)}
        written: dict[str, Any] = {"shard": self._shard, "stage": stage, "determinism": determinism}
        if earlier := self.earlier_classes(determinism):
            written["earlier_classes"] = earlier
        return serialize(tensors, written), weights_sha256(predictive)

    def earlier_classes(self, determinism: str) -> tuple[str, ...]:
        """The other determinism classes that this state descends from. determinism: the present one; all as JSON"""
        return tuple(sorted(self._classes - {determinism}))

    def reset_optimizer(self) -> None:
        """Start the optimizer anew: its moments hold what is to be forgotten."""
        self.optimizer = make_optimizer(self.classifier.model.parameters(), self._plan.training)

    def fit_normalizer(self, samples: ShardSamples) -> None:
        """Fit to the first slice that has samples; there is at least one."""
        first = samples.up_to(int(samples.slices[0]))
        self.classifier.normalizer = Normalizer.fit(first.features, self._plan.normalize)
        self._ready = None

    def train_stage(self, samples: ShardSamples, stage: int, recorder: UpdateRecorder | None = None) -> int:
        """Train on slices 0..stage of the samples. returns: sample passes. Raises TrainingFailed, RankLost"""
        current = samples.up_to(stage)
        if not len(current):
            return 0
        try:
            return self._train_stage(samples, current, stage, recorder)
        except RankLost:
            raise
        except Exception as error:  # the model's own code runs, on a device that may be too small for it
            raise TrainingFailed(self._shard, stage, f"{type(error).__name__}: {one_line(error)}") from error

    def _train_stage(
        self, samples: ShardSamples, current: ShardSamples, stage: int, recorder: UpdateRecorder | None
    ) -> int:
        if self.classifier.normalizer is None:
            self.fit_normalizer(current)
        inputs, labels = (tensor[: len(current)] for tensor in self._prepared(samples))
        epochs = self._plan.epochs[stage]
        for epoch in range(epochs):
            self.set_rate(self._rate(stage, epoch))
            seed, dropout = (
                derive_seed(self._plan.seed, self._shard, stage, epoch, what) for what in ("order", "dropout")
            )
            batches = self.batches(current, seed=seed)
            if recorder is not None:
                recorder.begin_epoch(batches, current)
            self.train_epoch(inputs, labels, batches, recorder, seed=dropout)
        return epochs * len(current)

    def _prepared(self, samples: ShardSamples) -> tuple[Tensor, Tensor]:
        """Inputs and labels of all samples, normalised once for all stages."""
        if self._ready is None or self._ready[0] is not samples:
            labels = torch.from_numpy(samples.labels.copy()).to(self.classifier.device)
            self._ready = samples, self.classifier.inputs(samples.features), labels
        return self._ready[1:]

    def batches(self, samples: ShardSamples, *, seed: int) -> BatchPlan:
        """One epoch's batches."""
        groups = self._plan.groups_per_slice
        if groups is None:
            batches = shuffled_batches(samples, batch_size=self._plan.training.batch_size, seed=seed)
        else:
            batches = grouped_batches(samples, groups_per_slice=groups, seed=seed)
        return batches.drop_singletons() if self._needs_pairs else batches

    def train_epoch(
        self,
        inputs: Tensor,
        labels: Tensor,
        batches: BatchPlan,
        recorder: UpdateRecorder | None = None,
        *,
        seed: int,
    ) -> None:
        """inputs: (samples, *shape) float32, normalised; labels: (samples,) int64; seed: of what the model draws"""
        model, ranks = self.classifier.model.train(), self._ranks
        if ranks.count == 1:
            gradients = whole_batches(model, inputs, labels, batches, seed=seed)
        else:
            least = 2 if self._needs_pairs else 1
            gradients = parted_batches(model, inputs, labels, batches, seed=seed, ranks=ranks, least=least)
        for number, _ in enumerate(gradients):
            with recorder.stepping(number, self.optimizer) if recorder else nullcontext():
                self.optimizer.step()

    def set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _rate(self, stage: int, epoch: int) -> float:
        training = self._plan.training
        return learning_rate(
            training.learning_rate,
            training.schedule,
            stage=stage,
            stage_decay=training.stage_decay,
            epoch=epoch,
            epochs=self._plan.epochs[stage],
        )


def make_optimizer(parameters: Iterator[torch.nn.Parameter], training: TrainingConfig) -> torch.optim.Optimizer:
    rate, decay = training.learning_rate, training.weight_decay
    match training.optimizer:
        case OptimizerName.SGD:
            return torch.optim.SGD(parameters, lr=rate, momentum=training.momentum, weight_decay=decay)
        case OptimizerName.ADAM:
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
        case OptimizerName.ADAMW:
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
