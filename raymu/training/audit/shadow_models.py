"""The models of an audit: trained or restored, and their confidences in the audit's samples."""

import time
from dataclasses import dataclass, replace

import torch

from raymu.config import OhsConfig
from raymu.core.arrays import Floats
from raymu.core.partition import derive_seed
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.batches import ShardSamples
from raymu.training.classifier import EVALUATION_BATCH, Classifier
from raymu.training.determinism import choose_device, deterministic, device_or_cpu
from raymu.training.patch import fine_tune_as_control
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditTask:
    """One model to train. Tasks on one shard share their samples."""

    samples: AuditSamples
    kind: ModelKind
    number: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditedModel:
    """A model of an audit."""

    payload: bytes
    """Its checkpoint."""
    weights_sha256: str
    confidences: Floats
    """(samples of the audit,) log odds of the true class."""
    passes: float
    """Sample passes."""
    seconds: float
    """Compute time."""


def train_model(samples: AuditSamples, kind: ModelKind, number: int) -> AuditedModel:
    """Train one model from scratch, as the run trains. The result depends on the arguments alone.

    Raises:
        DeviceUnavailable: This machine lacks the configured device.
    """
    spec = samples.spec
    if kind is ModelKind.ORACLE and number:
        spec = replace(spec, seed=derive_seed(spec.seed, "oracle", number))
    started = time.perf_counter()
    device = choose_device(samples.device)
    with deterministic(device, samples.threads, spec.workers) as determinism:
        trainer = ShardTrainer(spec, samples.shard, device)
        members = samples.samples.where(samples.members(kind, number))
        passes = sum(trainer.train_stage(members, stage) for stage in range(len(spec.epochs)))
        return _audited(trainer, samples, determinism.json(), passes=passes, started=started)


def restored_model(samples: AuditSamples, payload: bytes, *, source: str) -> AuditedModel:
    """Restore a checkpoint. Raises FileCorrupt, naming `source`."""
    started = time.perf_counter()
    device = device_or_cpu(samples.device)
    with deterministic(device, samples.threads, samples.spec.workers) as determinism:
        trainer = ShardTrainer(samples.spec, samples.shard, device)
        trainer.load(payload, source=source)
        return _audited(trainer, samples, determinism.json(), passes=0.0, started=started)


def control_model(samples: AuditSamples, before: AuditedModel, ohs: OhsConfig) -> AuditedModel:
    """Fine-tune the model before the request as `ohs` does, and subtract nothing: a control that forgets nothing."""
    started = time.perf_counter()
    device = device_or_cpu(samples.device)
    with deterministic(device, samples.threads, samples.spec.workers) as determinism:
        trainer = ShardTrainer(samples.spec, samples.shard, device)
        trainer.load(before.payload, source="the model before the request")
        retain = samples.samples.where(samples.is_retained)
        passes = fine_tune_as_control(trainer, retain, spec=samples.spec, shard=samples.shard, ohs=ohs)
        return _audited(trainer, samples, determinism.json(), passes=passes, started=started)


def true_class_log_odds(classifier: Classifier, samples: ShardSamples) -> Floats:
    """Compute log(p / (1 - p)) of each true class's probability p, from the logits: exact even if p rounds to 1.

    Returns:
        (samples,)
    """
    labels = torch.from_numpy(samples.labels.copy()).split(EVALUATION_BATCH)
    parts = [torch.zeros(0, dtype=torch.float64)]
    with torch.no_grad():
        for batch, targets in zip(classifier.logits(samples.features), labels, strict=False):
            logits, true_class = batch.double().cpu(), targets[:, None]
            others = logits.scatter(1, true_class, -torch.inf).logsumexp(dim=1)
            parts.append(logits.gather(1, true_class).squeeze(1) - others)
    odds: Floats = torch.cat(parts).numpy()
    return odds


def _audited(
    trainer: ShardTrainer, samples: AuditSamples, determinism: str, *, passes: float, started: float
) -> AuditedModel:
    payload, weights = trainer.dump(stage=len(samples.spec.epochs) - 1, determinism=determinism)
    return AuditedModel(
        payload=payload,
        weights_sha256=weights,
        confidences=true_class_log_odds(trainer.classifier, samples.samples),
        passes=passes,
        seconds=time.perf_counter() - started,
    )
