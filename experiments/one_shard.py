"""One shard of a run, trained with many seeds: as it was, without its forget sets, and after every remedy.

The remedies are those of the product: `ShardPatcher` patches, and `train_stages` trains. Only the seed of the shard's
training differs between the models. The shard, its forget sets and the other shards, which calibration aims at, stay the
same. What is trained is kept in `build/trained`, so that other remedies can be measured without training it again.
"""

import hashlib
import os
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import torch

from experiments.harness import ROOT
from experiments.setups import Setup
from raymu.config import Config, UnlearningConfig
from raymu.config.unlearning import Contributions
from raymu.core.arrays import Floats
from raymu.core.commands import CalibrationReference, Decision, RepairShard
from raymu.core.partition import derive_seed, identity_hashes
from raymu.core.planner import MOST_REFERENCES
from raymu.core.records import CheckpointRef, Cost, FileRef, Remedy, ShardLineage
from raymu.data.tables import read_training_table
from raymu.errors import PatchFailed
from raymu.service.history_parts import sample_homes
from raymu.service.shard.shard_patcher import ShardPatcher
from raymu.service.trial import read_test_set
from raymu.training.audit.relearn_time import relearning_steps
from raymu.training.audit.samples import AuditSamples
from raymu.training.audit.shadow_models import true_class_log_odds
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic
from raymu.training.patch import fine_tune_as_control
from raymu.training.spec import TrainingSpec
from raymu.training.stages import StageTask, train_stages
from raymu.training.trainer import ShardTrainer

CPU = torch.device("cpu")
SHARD = 0
KEPT = ROOT / "build" / "trained"
MEASURED = 1000
"""Retained samples, and test samples, whose confidences are kept."""


class MemoryFiles:
    """States of shards in memory."""

    def __init__(self) -> None:
        self._payloads: dict[str, bytes] = {}

    def write(self, shard: int, name: str, payload: bytes) -> FileRef:
        digest = hashlib.sha256(payload).hexdigest()
        self._payloads[digest] = payload
        return FileRef(path=f"{shard}/{name}", sha256=digest, byte_size=len(payload))

    def read(self, ref: FileRef) -> bytes:
        return self._payloads[ref.sha256]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardModel:
    """A state of the shard, and what reaching it cost."""

    payload: bytes
    """Checkpoint that predictions are made from."""
    cost: Cost
    """Seconds are of one thread's processor time, which other work on the machine does not lengthen."""
    lineage: ShardLineage | None = None
    """None for a state that is only measured."""
    files: MemoryFiles = field(default_factory=MemoryFiles)
    """Where the lineage's files are."""
    retrained: int = 0
    """Number of patches that failed, so that the shard was retrained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A remedy with settings of `unlearning`."""

    remedy: Remedy
    unlearning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Confidences:
    """Confidences of one model in the measured samples."""

    forget: Floats
    retained: Floats
    test: Floats
    accuracy: float
    """On the whole test set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OneShard:
    """The shard, without any model of it."""

    config: Config
    spec: TrainingSpec
    samples: ShardSamples
    """In canonical order."""
    others: Sequence[ShardSamples]
    """Samples of the shards that calibration aims at."""
    test: ShardSamples
    kept: Path
    """Folder of the models that were trained already."""

    @classmethod
    def of(cls, config: Config) -> "OneShard":
        """Read the data. The shard is the first one of the partition."""
        training = read_training_table(config.data.train, config.data)
        table = training.samples
        shards, slices = sample_homes(table, config.partition)
        hashes = identity_hashes(table.ids.tolist(), seed=config.partition.seed, purpose="sample")
        samples, *others = [
            ShardSamples.ordered(table.take(rows), hashes=hashes[rows], slices=slices[rows])
            for rows in (np.flatnonzero(shards == shard) for shard in range(config.partition.shards))
        ]
        assert config.data.test is not None
        features, labels = read_test_set(config.data.test, config.data, training.classes)
        rows = np.arange(len(labels))
        spec = TrainingSpec.of(config, input_shape=table.array.shape[1:], classes=training.classes.count)
        identity = hashlib.sha256(f"{spec} {config.partition} {hashes.sum()} {torch.__version__}".encode())
        return cls(
            config=config,
            spec=spec,
            kept=KEPT / identity.hexdigest()[:16],
            samples=samples,
            others=others[:MOST_REFERENCES],
            test=ShardSamples(
                hashes=rows.astype(np.uint64), slices=np.zeros_like(rows), features=features, labels=labels
            ),
        )

    def with_seed(self, seed: int) -> TrainingSpec:
        """Return the spec of training the shard with another seed."""
        return replace(self.spec, seed=derive_seed(self.spec.seed, "repetition", seed))

    def forgotten(self, size: int) -> np.ndarray:
        """Choose a forget set; a larger one contains the smaller ones. Returns (samples,) bool."""
        order = np.random.default_rng(self.spec.seed).permutation(len(self.samples))
        is_forgotten = np.zeros(len(self.samples), dtype=bool)
        is_forgotten[order[:size]] = True
        return is_forgotten

    def singles(self, size: int) -> list[np.ndarray]:
        """Return the same forget set as requests for one sample each, in the order in which they arrive."""
        return [self.forgotten(place + 1) & ~self.forgotten(place) for place in range(size)]

    @cached_property
    def measured_retained(self) -> ShardSamples:
        """Samples that no forget set of less than a half contains."""
        order = np.random.default_rng(self.spec.seed).permutation(len(self.samples))[::-1]
        is_measured = np.zeros(len(self.samples), dtype=bool)
        is_measured[order[: min(MEASURED, len(order) // 2)]] = True
        return self.samples.where(is_measured)

    @cached_property
    def measured_test(self) -> ShardSamples:
        return self.test.where(np.arange(len(self.test)) < MEASURED)

    @cached_property
    def references(self) -> tuple[tuple[CalibrationReference, ...], MemoryFiles]:
        """The trained other shards, and where their states are."""
        files, references = MemoryFiles(), []
        for shard, samples in enumerate(self.others, start=1):
            model = self._kept(f"other-{shard}", shard, partial(_trained, self.spec, shard, samples))
            checkpoint = checkpoint_of(files, shard, len(self.spec.epochs) - 1, model.payload, str(shard))
            references.append(CalibrationReference(shard=shard, checkpoint=checkpoint, table=checkpoint.file))
        return tuple(references), files

    def train(self, seed: int, samples: ShardSamples | None = None) -> ShardModel:
        """Train the shard from scratch; on all samples by default."""
        samples = self.samples if samples is None else samples
        name = f"seed-{seed}-{len(samples)}"
        return self._kept(name, SHARD, partial(_trained, self.with_seed(seed), SHARD, samples))

    def retrain(self, before: ShardModel, seed: int, is_forgotten: np.ndarray) -> ShardModel:
        """Retrain exactly: from the checkpoint before the first slice with a forgotten sample."""
        assert before.lineage is not None
        first = int(self.samples.slices[is_forgotten].min())
        checkpoint = before.lineage.checkpoints[first - 1] if first else None
        payload = before.files.read(checkpoint.file) if checkpoint else None
        retain = self.samples.where(~is_forgotten)
        train = partial(_trained, self.with_seed(seed), SHARD, retain, first=first, checkpoint=payload)
        return self._kept(f"retrained-{seed}-{is_forgotten.sum()}", SHARD, train)

    def control(self, before: ShardModel, seed: int, is_forgotten: np.ndarray) -> ShardModel:
        """Fine-tune and subtract nothing."""
        spec = self.with_seed(seed)
        started = time.process_time()
        with deterministic(CPU, 1, spec.workers) as determinism:
            trainer = ShardTrainer(spec, SHARD, CPU)
            trainer.load(before.payload, source="the model before the request")
            retain, ohs = self.samples.where(~is_forgotten), self.config.unlearning.ohs
            passes = fine_tune_as_control(trainer, retain, spec=spec, shard=SHARD, ohs=ohs)
            payload, _ = trainer.dump(stage=len(spec.epochs) - 1, determinism=determinism.json())
        return ShardModel(payload=payload, cost=Cost(passes=passes, seconds=time.process_time() - started))

    def repair(self, before: ShardModel, seed: int, requests: Iterable[np.ndarray], method: Method) -> ShardModel:
        """Carry out a remedy for each request, one after the other. requests: the forget set of each, (samples,) bool"""
        spec, config = self.with_seed(seed), self.unlearning(method)
        references, reference_files = self.references
        files = _JoinedFiles(reference_files, before.files)
        model = replace(before, cost=Cost(passes=0.0, seconds=0.0))
        is_gone = np.zeros(len(self.samples), dtype=bool)
        for number, is_forgotten in enumerate(requests):
            assert model.lineage is not None
            is_gone |= is_forgotten
            lineage = model.lineage
            command = RepairShard(
                command_id=f"repair-{number}",
                request_ids=(str(number),),
                lineage=lineage,
                decision=Decision(remedy=method.remedy, reason="measured", passes=0.0, seconds=0.0),
                earliest_slice=int(self.samples.slices[is_gone].min()),
                references=references,
            )
            started = time.process_time()
            try:
                with deterministic(CPU, 1, spec.workers) as determinism:
                    forget, retain = self.samples.where(is_forgotten), self.samples.where(~is_gone)
                    unseen = self.others[0] if self.others else None
                    patch = ShardPatcher(spec, config, command, files, device=CPU).patch(forget, retain, unseen)
                    patch.trainer.reset_optimizer()
                    payload, weights = patch.trainer.dump(stage=len(spec.epochs) - 1, determinism=determinism.json())
                passes = patch.passes
            except PatchFailed:
                retrained = self.retrain(before, seed, is_gone)
                model = replace(
                    model,
                    payload=retrained.payload,
                    cost=_sum(model.cost, retrained.cost),
                    retrained=model.retrained + 1,
                )
                payload, weights, passes = retrained.payload, hashlib.sha256(retrained.payload).hexdigest(), 0.0
                started = time.process_time()
            serving = checkpoint_of(files, SHARD, lineage.slices - 1, payload, weights)
            model = replace(
                model,
                payload=payload,
                cost=_sum(model.cost, Cost(passes=passes, seconds=time.process_time() - started)),
                lineage=lineage.patched(
                    command.earliest_slice,
                    command.request_ids,
                    table=lineage.table,
                    slice_samples=retain.slice_samples(lineage.slices),
                    updates=lineage.updates,
                    serving=serving,
                ),
            )
        return model

    def unlearning(self, method: Method) -> UnlearningConfig:
        tree = self.config.tree()
        return Config.parse(tree | {"unlearning": {**tree["unlearning"], **method.unlearning}}).unlearning

    def confidences(self, model: ShardModel, is_forgotten: np.ndarray) -> Confidences:
        """Measure a model."""
        with deterministic(CPU, 1, self.spec.workers):
            classifier = Classifier.restore(model.payload, self.spec, device=CPU, source="a measured model")
            test = true_class_log_odds(classifier, self.measured_test)
            predictions = classifier.probabilities(self.test.features).argmax(axis=1)
            return Confidences(
                forget=true_class_log_odds(classifier, self.samples.where(is_forgotten)),
                retained=true_class_log_odds(classifier, self.measured_retained),
                test=test,
                accuracy=float((predictions == self.test.labels).mean()),
            )

    def relearning_steps(self, model: ShardModel, seed: int, is_forgotten: np.ndarray, *, target: float) -> int | None:
        """Count the steps until the forget set's mean loss is at most the target; None if it never is."""
        samples = AuditSamples.gather(
            self.samples.where(~is_forgotten),
            self.samples.where(is_forgotten),
            self.test.where(np.zeros(len(self.test), dtype=bool)),
            spec=self.with_seed(seed),
            shard=SHARD,
            device="cpu",
            threads=1,
        )
        return relearning_steps(samples, model.payload, target=target)

    def _kept(self, name: str, shard: int, train: Callable[[], "TrainedStages"]) -> ShardModel:
        """Return a model that was trained already, or train it. The folder is this experiment's own, and may be deleted."""
        path = self.kept / f"{name}.pickle"
        if path.exists():
            stages, slice_samples, passes, seconds = pickle.loads(path.read_bytes())
        else:
            started = time.process_time()
            stages, slice_samples, passes = train()
            seconds = time.process_time() - started
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}")
            unfinished.write_bytes(pickle.dumps((stages, slice_samples, passes, seconds)))
            unfinished.rename(path)
        return _model_of(shard, stages, slice_samples, Cost(passes=passes, seconds=seconds))


TrainedStages: TypeAlias = tuple[list[tuple[int, bytes, str]], tuple[int, ...] | None, float]
"""Number, checkpoint and weights' hash of each stage; samples of each slice, None if a stage was not trained; passes."""


def _model_of(
    shard: int, stages: Sequence[tuple[int, bytes, str]], slice_samples: tuple[int, ...] | None, cost: Cost
) -> ShardModel:
    *_, (_, payload, _) = stages
    if slice_samples is None:
        return ShardModel(payload=payload, cost=cost)
    files = MemoryFiles()
    checkpoints = tuple(checkpoint_of(files, shard, *stage) for stage in stages)
    lineage = ShardLineage(
        shard=shard,
        table=checkpoints[-1].file,
        slice_samples=slice_samples,
        checkpoints=checkpoints,
        updates=(None,) * len(stages),
        serving=checkpoints[-1],
        tainted_from=None,
        debts=(),
        seconds_per_pass=cost.seconds / cost.passes,
    )
    return ShardModel(payload=payload, cost=cost, lineage=lineage, files=files)


def _trained(
    spec: TrainingSpec, shard: int, samples: ShardSamples, *, first: int = 0, checkpoint: bytes | None = None
) -> TrainedStages:
    task = StageTask(
        spec=spec,
        shard=shard,
        samples=samples,
        first=first,
        checkpoint=checkpoint,
        contributions=Contributions.GRADIENT,  # which records nothing
        device="cpu",
        threads=1,
    )
    results = list(train_stages(task))
    stages = [(result.stage, result.checkpoint, result.weights_sha256) for result in results]
    slice_samples = None if first else samples.slice_samples(len(stages))
    return stages, slice_samples, float(sum(result.passes for result in results))


class _JoinedFiles(MemoryFiles):
    """Files of several sources, and new ones."""

    def __init__(self, *sources: MemoryFiles) -> None:
        super().__init__()
        for source in sources:
            self._payloads |= source._payloads


def checkpoint_of(files: MemoryFiles, shard: int, stage: int, payload: bytes, weights_sha256: str) -> CheckpointRef:
    """Keep a state, and return its record."""
    file = files.write(shard, f"stage-{stage}", payload)
    return CheckpointRef(stage=stage, file=file, weights_sha256=weights_sha256, descent="")


@cache
def one_shard(setup: Setup) -> OneShard:
    """Return the shard of a setup: the same object in every call of a process, since its references are trained once."""
    with TemporaryDirectory(prefix="raymu-experiment-") as folder:
        return OneShard.of(setup.config(Path(folder)))


def _sum(first: Cost, second: Cost) -> Cost:
    return Cost(passes=first.passes + second.passes, seconds=first.seconds + second.seconds)
