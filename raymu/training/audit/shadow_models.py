"""The models of an audit: trained or restored, and their confidences in the audit's samples."""

import time
from dataclasses import dataclass

import torch

from raymu.config import OhsConfig
from raymu.core.arrays import Floats, Mask
from raymu.training.audit.remedy import AuditedRemedy
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.determinism import choose_device, deterministic, device_or_cpu
from raymu.training.patch import fine_tune_as_control
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditTask:
    """One model to train. Tasks on one shard share their samples."""

    samples: AuditSamples
    kind: ModelKind
    number: int
    remedy: AuditedRemedy | None = None
    """What is done to the trained model: only to a model of `ModelKind.BEFORE`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditedModel:
    """A model of an audit."""

    payload: bytes
    """Its checkpoint."""
    weights_sha256: str
    confidences: Floats
    """(samples of the audit,) log odds of the true class."""
    is_correct: Mask
    """(samples of the audit,) whether the true class is the likeliest."""
    passes: float
    """Sample passes."""
    seconds: float
    """Compute time."""
    control: "AuditedModel | None" = None
    """Of a model before the request: the same model, fine-tuned without subtracting anything."""
    remedied: "AuditedModel | None" = None
    """Of a model before the request: the same model after the remedy."""
    failed_patches: int = 0
    """Of a remedied model: patches that failed, and were replaced by retraining."""


def train_model(samples: AuditSamples, kind: ModelKind, number: int) -> AuditedModel:
    """Train one model from scratch, as the run trains. The result depends on the arguments alone.

    Raises:
        DeviceUnavailable: This machine lacks the configured device.
    """
    spec = samples.spec_of(kind, number)
    started = time.perf_counter()
    device = choose_device(samples.device)
    with deterministic(device, samples.threads, spec.workers, spec.training, lane=spec.lane) as determinism:
        trainer = ShardTrainer(spec, samples.shard, device)
        members = samples.samples.where(samples.members(kind, number))
        passes = sum(trainer.train_stage(members, stage) for stage in range(len(spec.epochs)))
        return audited_model(trainer, samples, determinism.json(), passes=passes, started=started)


def restored_model(samples: AuditSamples, payload: bytes, *, source: str) -> AuditedModel:
    """Restore a checkpoint. Raises FileCorrupt, naming `source`."""
    started = time.perf_counter()
    device = device_or_cpu(samples.device)
    with deterministic(
        device, samples.threads, samples.spec.workers, samples.spec.training, lane=samples.spec.lane
    ) as determinism:
        trainer = ShardTrainer(samples.spec, samples.shard, device)
        trainer.load(payload, source=source)
        return audited_model(trainer, samples, determinism.json(), passes=0.0, started=started)


def control_model(samples: AuditSamples, before: AuditedModel, ohs: OhsConfig, *, number: int = 0) -> AuditedModel:
    """Fine-tune a model before the request, and subtract nothing: a control that forgets nothing.

    Args:
        samples: Samples of the shard.
        before: The model of `ModelKind.BEFORE`.
        ohs: How it is fine-tuned.
        number: Number of the model.
    """
    started = time.perf_counter()
    device = device_or_cpu(samples.device)
    spec = samples.spec_of(ModelKind.BEFORE, number)
    with deterministic(device, samples.threads, spec.workers, spec.training, lane=spec.lane) as determinism:
        trainer = ShardTrainer(spec, samples.shard, device)
        trainer.load(before.payload, source="the model before the request")
        retain = samples.samples.where(samples.is_retained)
        passes = fine_tune_as_control(trainer, retain, spec=spec, shard=samples.shard, ohs=ohs)
        return audited_model(trainer, samples, determinism.json(), passes=passes, started=started)


def true_class_log_odds(classifier: Classifier, samples: ShardSamples) -> Floats:
    """Compute how sure a model is of the truth of each sample: for classes, the log odds of the true one.

    Returns:
        (samples,)
    """
    return _evaluate(classifier, samples)[0]


def audited_model(
    trainer: ShardTrainer, samples: AuditSamples, determinism: str, *, passes: float, started: float
) -> AuditedModel:
    """Return the present state of a trainer as a model of an audit.

    Args:
        trainer: Has the model.
        samples: Samples of the shard.
        determinism: The determinism class, as JSON.
        passes: Sample passes that the model cost.
        started: `time.perf_counter()` when the work on it began.
    """
    payload, weights = trainer.dump(stage=len(samples.spec.epochs) - 1, determinism=determinism)
    confidences, is_correct = _evaluate(trainer.classifier, samples.samples)
    return AuditedModel(
        payload=payload,
        weights_sha256=weights,
        confidences=confidences,
        is_correct=is_correct,
        passes=passes,
        seconds=time.perf_counter() - started,
    )


def _evaluate(classifier: Classifier, samples: ShardSamples) -> tuple[Floats, Mask]:
    """Compute the log odds of each true class, and whether it is the likeliest. Returns two arrays (samples,)."""
    targets = classifier.targets(samples.labels).split(classifier.evaluation_batch)
    odds, is_correct = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0, dtype=torch.bool)]
    with torch.no_grad():
        for batch, batch_targets in zip(classifier.outputs(samples.features), targets, strict=False):
            outputs, truth = batch.cpu(), batch_targets.cpu()
            odds.append(classifier.target.confidence(outputs, truth))
            is_correct.append(classifier.target.is_correct(outputs, truth))
    return torch.cat(odds).numpy(), torch.cat(is_correct).numpy()
