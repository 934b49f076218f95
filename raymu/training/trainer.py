"""Training one shard, stage by stage, in an order that depends on identity alone."""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from raymu.core.partition import derive_seed
from raymu.core.stage_measures import StageMeasures, Validation
from raymu.errors import RankLost, TrainingFailed
from raymu.text import one_line
from raymu.training.batch_sizes import BatchSizes
from raymu.training.batch_statistics import compute_statistics, layers_without_statistics
from raymu.training.batches import (
    BatchPlan,
    ShardSamples,
    grouped_batches,
    sample_draws,
    shuffled_batches,
)
from raymu.training.checkpoint_format import (
    Later,
    copied,
    deserialize,
    serialize,
    strip_prefix,
    weights_sha256,
)
from raymu.training.checkpoint_metadata import read_metadata
from raymu.training.classifier import Classifier, weights_seed
from raymu.training.data_parallel_gradients import accumulate_gradient, data_parallel_gradients
from raymu.training.early_stopping import EarlyStopping, TrainingState
from raymu.training.encoder import PreparedSamples
from raymu.training.held_out import HeldOut
from raymu.training.lane import train_lane_stage
from raymu.training.learning_rate import LearningRate
from raymu.training.measures import LossMeter, metered, unmetered, validate
from raymu.training.model_state import go_back, snapshot
from raymu.training.numerics import in_format_of_weights
from raymu.training.optimizers import build_optimizer
from raymu.training.randomness import own_generators, random_state_kept, seed_everything
from raymu.training.ranks import Ranks, SimulatedRanks
from raymu.training.recorded_updates import UpdateRecorder, recording
from raymu.training.spec import TrainingSpec


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EpochPlan:
    """One epoch of a stage."""

    batches: BatchPlan
    rates: Sequence[float]
    """Learning rate of each batch's step."""
    draws: Tensor | None
    """(samples,) int64, a seed for each sample; None if the task draws nothing."""


class ShardTrainer:
    """The complete training state of one shard: classifier and optimizer. A checkpoint holds all of it."""

    def __init__(self, spec: TrainingSpec, shard: int, device: torch.device, ranks: Ranks | None = None) -> None:
        """Build a model whose weights derive from (seed, shard), and its optimizer.

        Args:
            spec: What training depends on, besides the samples.
            shard: Number of the shard.
            device: Device to train on.
            ranks: Ranks that share each batch, as many as the spec has workers. Simulated by default.

        Raises:
            ConfigInvalid: The model, loss, optimizer or schedule cannot be built.
        """
        seed_everything(weights_seed(spec, shard))
        self.classifier = Classifier.build(spec, device=device)
        self.optimizer = build_optimizer(self.classifier.model.parameters(), spec.training)
        self.spec, self.shard = spec, shard
        self._ranks = ranks or SimulatedRanks(spec.workers)
        self._learning_rate = LearningRate(spec.training)
        self.generators = own_generators(self.code_objects) if spec.is_probed else {}
        self.batch_sizes = BatchSizes(self.classifier, spec, ranks=self._ranks.count, generators=self.generators)
        """The sizes of batches that the model can be trained on."""
        self._prepared_samples: tuple[ShardSamples, PreparedSamples, Tensor] | None = None
        self._held_out: PreparedSamples | None = None
        self._classes: frozenset[str] = frozenset()
        self.measures: StageMeasures | None = None
        """What was measured in the last trained stage; None before, and for a stage without samples."""

    @property
    def code_objects(self) -> dict[str, object]:
        """The objects whose code training runs, by name."""
        return {
            "task": self.classifier.task,
            "model": self.classifier.model,
            "loss": self.classifier.loss,
            "optimizer": self.optimizer,
            "schedule": self._learning_rate,
        }

    def load(self, payload: bytes, *, source: str) -> None:
        """Restore the state of a checkpoint. Raises FileCorrupt, naming `source`, and ConfigInvalid."""
        tensors = deserialize(payload, source=source)
        self.classifier.load_tensors(tensors)
        self._prepared_samples = None  # they were encoded by another encoder than the checkpoint's
        metadata = read_metadata(payload)
        self._classes = frozenset((metadata["determinism"], *metadata.get("earlier_classes", ())))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in strip_prefix(tensors, "optimizer.").items():
            parameter, _, key = name.partition(".")
            state.setdefault(int(parameter), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.spec.training.channels_last:
            in_format_of_weights(self.optimizer)

    def dump(self, *, stage: int, determinism: str) -> tuple[bytes, str]:
        """Serialise the state after a stage as a checkpoint.

        Args:
            stage: Number of the stage.
            determinism: The current determinism class, as JSON.

        Returns:
            The file's bytes, and the hash of the tensors that predictions use.

        Raises:
            TrainingFailed: A weight is infinite or NaN.
        """
        return self.snapshot(stage=stage, determinism=determinism).get()

    def snapshot(self, *, stage: int, determinism: str) -> Later[tuple[bytes, str]]:
        """Copy the state after a stage, for a checkpoint that another thread serialises while training goes on.

        Args and errors are those of `dump`, and so is the result.
        """
        predictive = self.classifier.tensors()
        if not all(weight.isfinite().all() for weight in self.classifier.model.parameters()):
            problem = "its weights became infinite or NaN; lower training.learning_rate, or normalise the features"
            raise TrainingFailed(self.shard, stage, problem)
        metadata: dict[str, Any] = {"shard": self.shard, "stage": stage, "determinism": determinism}
        if earlier := self.earlier_classes(determinism):
            metadata["earlier_classes"] = earlier
        state, names = copied(predictive | self._optimizer_tensors()), predictive.keys()
        return Later(lambda: (serialize(state, metadata), weights_sha256({name: state[name] for name in names})))

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint has, by name. They are not copied."""
        return self.classifier.tensors() | self._optimizer_tensors()

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"optimizer.{parameter}.{key}": value
            for parameter, state in self.optimizer.state_dict()["state"].items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def earlier_classes(self, determinism: str) -> tuple[str, ...]:
        """List the determinism classes that this state descends from, as JSON, without the current one."""
        return tuple(sorted(self._classes - {determinism}))

    def reset_optimizer(self) -> None:
        """Start with a new optimizer: the moments of the old one depend on samples that are to be forgotten."""
        self.optimizer = build_optimizer(self.classifier.model.parameters(), self.spec.training)

    def fit_encoder(self, samples: ShardSamples) -> None:
        """Fit the encoder to the first slice that has samples. There must be at least one sample.

        An encoder that was fitted before learns again what it can without changing what the model's inputs mean.
        """
        first_slice, encoder = samples.up_to(int(samples.slices[0])), self.classifier.encoder
        if encoder is None:
            self.classifier.fit(first_slice.features, first_slice.labels)
        else:
            self.classifier.encoder = encoder.refit(first_slice.features)
        self._prepared_samples = None

    def train_stage(self, samples: ShardSamples, stage: int, recorder: UpdateRecorder | None = None) -> int:
        """Train on slices 0..stage.

        Args:
            samples: The shard's samples. Those of later slices are left out.
            stage: Number of the stage.
            recorder: Records the updates of the stage.

        Returns:
            Sample passes: trained epochs times samples. Samples that `batches` leaves out are counted too.

        Raises:
            TrainingFailed: The model's code fails, or the device has too little memory.
            RankLost: Another rank does not answer.
        """
        if self.spec.lane > 1:
            [passes] = train_lane_stage([self], [samples], stage)
            return passes
        current = samples.up_to(stage)
        self.measures = None
        if not len(current):
            return 0
        if self.spec.held_out is not None:
            _ = self.spec.held_out.samples  # a file that is lost is no failure of the model's code
        try:
            prepared, targets = self.prepared_for(samples, current)
            stopping = EarlyStopping(self.spec.held_out, self.spec.epochs[stage])
            with recording(recorder, self.optimizer):
                for epoch in range(self.spec.epochs[stage]):
                    meter = self._train_stage_epoch(prepared, targets, current, stage, epoch, recorder)
                    if stopping.is_due(epoch):
                        stopping.take_up(epoch, self.validate(), self.copy_of_state)
                    if stopping.has_ended:
                        break
            if (best := stopping.best_state) is not None:
                self.go_back(best)
            if (layers := layers_without_statistics(self.classifier.trained)) and len(current) > 1:
                compute_statistics(self.classifier, layers, prepared)
        except RankLost:
            raise
        except Exception as error:  # the model's own code runs, on a device that may be too small for it
            raise TrainingFailed(self.shard, stage, f"{type(error).__name__}: {one_line(error)}") from error
        self.measures = replace(stopping.measures, loss=self._mean_loss(meter))
        return stopping.trained_epochs * len(current)

    def validate(self) -> Validation:
        """Measure the present state on held-out samples. All ranks get what the first one measured."""
        held_out, values = self.spec.held_out, torch.zeros(2, dtype=torch.float64)
        assert held_out is not None, "only a spec with held-out samples is validated"
        if 0 in self._ranks.local_ranks:
            with random_state_kept(self.classifier.device, self.generators), unmetered(self.classifier):
                own = validate(self.classifier, held_out, self._prepared_held_out(held_out))
            values = torch.tensor([own.loss, own.score], dtype=torch.float64)
        others = [torch.zeros_like(values) for _ in self._ranks.local_ranks[1:]]
        loss, score = self._ranks.ordered_all_reduce([values, *others]).tolist()
        return Validation(loss=loss, score=score)

    def _prepared_held_out(self, held_out: HeldOut) -> PreparedSamples:
        """Return the held-out samples, encoded once by each encoder."""
        if self._held_out is None or self._held_out.encoder is not self.classifier.encoder:
            self._held_out = self.classifier.prepare(held_out.rows)
        return self._held_out

    def copy_of_state(self) -> TrainingState:
        """Copy the model's state and the optimizer's."""
        return snapshot(self.classifier.model), copy.deepcopy(self.optimizer.state_dict())

    def go_back(self, state: TrainingState) -> None:
        """Take up a state of this stage that was copied."""
        model, optimizer = state
        go_back(self.classifier.model, model)
        self.optimizer.load_state_dict(optimizer)

    def _mean_loss(self, meter: LossMeter) -> float | None:
        """Return the mean loss of all ranks' samples; None if there were none, or if it is infinite or NaN."""
        others = [torch.zeros_like(meter.total) for _ in self._ranks.local_ranks[1:]]
        total, samples = self._ranks.ordered_all_reduce([meter.total, *others]).tolist()
        return total / samples if samples and math.isfinite(total) else None

    def _train_stage_epoch(
        self,
        prepared: PreparedSamples,
        targets: Tensor,
        samples: ShardSamples,
        stage: int,
        epoch: int,
        recorder: UpdateRecorder | None,
    ) -> LossMeter:
        """Train one epoch of a stage. Returns its losses, added up."""
        plan = self.plan_epoch(samples, stage, epoch)
        if recorder is not None:
            recorder.begin_epoch(plan.batches, samples)
        dropout = derive_seed(self.spec.seed, self.shard, stage, epoch, "dropout")
        with metered(self.classifier) as meter:
            self.train_epoch(prepared, targets, plan.batches, rates=plan.rates, seed=dropout, draws=plan.draws)
        return meter

    def plan_epoch(self, samples: ShardSamples, stage: int, epoch: int) -> EpochPlan:
        """Choose the batches of an epoch, their rates, and the seeds of samples. samples: those of the stage"""
        order, draws = (
            derive_seed(self.spec.seed, self.shard, stage, epoch, purpose) for purpose in ("order", "draws")
        )
        batches = self.batches(samples, seed=order)
        epochs, steps = self.spec.epochs[stage], len(batches.sizes)
        rates = self._learning_rate.of_epoch(stage=stage, epoch=epoch, epochs=epochs, steps=steps)
        return EpochPlan(batches=batches, rates=rates, draws=self.draws(samples, seed=draws))

    def draws(self, samples: ShardSamples, *, seed: int) -> Tensor | None:
        """Return a seed for each sample, (samples,) int64; None if the task makes no batches, and so draws nothing."""
        return sample_draws(samples.hashes, seed=seed) if self.classifier.task.is_collated else None

    def batches(self, samples: ShardSamples, *, seed: int) -> BatchPlan:
        """Cut samples into batches of an epoch, as far as the model takes them, in an order that derives from the seed."""
        groups = self.spec.groups_per_slice
        if groups is None:
            batches = shuffled_batches(samples, batch_size=self.spec.training.batch_size, seed=seed)
        else:
            batches = grouped_batches(samples, groups_per_slice=groups, seed=seed)
        return self.batch_sizes.fitting(batches)

    def train_epoch(
        self,
        samples: PreparedSamples,
        targets: Tensor,
        batches: BatchPlan,
        *,
        rates: Sequence[float],
        seed: int,
        draws: Tensor | None = None,
    ) -> None:
        """Train one epoch.

        Args:
            samples: The samples.
            targets: Their targets, (samples,) or (samples, outputs).
            batches: The batches of the epoch.
            rates: Learning rate of each batch's step.
            seed: Seed of the random numbers that the model draws, as dropout does.
            draws: As `draws` returns it.

        Raises:
            RankLost: Another rank does not answer.
        """
        self.classifier.model.train()
        if self._ranks.count > 1:
            self._train_epoch_by_ranks(samples, targets, batches, rates=rates, seed=seed, draws=draws)
            return
        parts = self.spec.training.accumulate
        least = self.batch_sizes.min_part if parts > 1 else 1
        seed_everything(seed, self.generators)
        clear_gradients = self._clear_gradients()
        with closing(batches.split(samples, targets, draws)) as whole_batches:
            for (batch, truth), rate in zip(whole_batches, rates, strict=True):
                clear_gradients()
                accumulate_gradient(self.classifier, batch, truth, parts=parts, min_samples=least)
                self._step(rate)

    def _clear_gradients(self) -> Callable[[], None]:
        """Return what clears all gradients before a step, also those that the optimizer leaves out: clipping reads them.

        The parameters of raymu's own models stay the same, and need not be looked for at each step.
        """
        model = self.classifier.model
        if self.spec.model.factory is not None:
            return partial(model.zero_grad, set_to_none=True)
        parameters = list(model.parameters())

        def clear() -> None:
            for parameter in parameters:
                parameter.grad = None

        return clear

    def _train_epoch_by_ranks(
        self,
        samples: PreparedSamples,
        targets: Tensor,
        batches: BatchPlan,
        *,
        rates: Sequence[float],
        seed: int,
        draws: Tensor | None,
    ) -> None:
        gradients = data_parallel_gradients(
            self.classifier,
            samples,
            targets,
            batches,
            draws=draws,
            seed=seed,
            ranks=self._ranks,
            generators=self.generators,
            min_samples=self.batch_sizes.min_part,
            accumulate=self.spec.training.accumulate,
        )
        for _, rate in zip(gradients, rates, strict=True):
            self._step(rate)

    def _step(self, rate: float) -> None:
        """Clip the gradients if configured, set the rate, and take an optimizer step. Recorders observe it by hooks."""
        if (norm := self.spec.training.max_grad_norm) is not None:
            clip_grad_norm_(self.classifier.model.parameters(), norm)
        self.set_rate(rate)
        self.optimizer.step()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate. The parameter groups of a factory's optimizer keep the ratios of their rates."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (group["initial_lr"] / self.spec.training.learning_rate)

    def prepared_for(self, samples: ShardSamples, current: ShardSamples) -> tuple[PreparedSamples, Tensor]:
        """Return the samples of a stage and their targets, after fitting the encoder if it is new.

        Args:
            samples: All samples of the shard.
            current: Those of the stage, which come first.
        """
        if self.classifier.encoder is None:
            self.fit_encoder(current)
        prepared, targets = self._prepared(samples)
        return prepared.first(len(current)), targets[: len(current)]

    def _prepared(self, samples: ShardSamples) -> tuple[PreparedSamples, Tensor]:
        """Return all samples and their targets, encoded once for all stages."""
        if self._prepared_samples is None or self._prepared_samples[0] is not samples:
            classifier = self.classifier
            self._prepared_samples = samples, classifier.prepare(samples.features), classifier.targets(samples.labels)
        return self._prepared_samples[1:]
