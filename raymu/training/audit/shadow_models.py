"""Training an audit's models, each by itself, and what they make of the pool."""

import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from raymu.config import OhsConfig
from raymu.core.partition import derive_seed
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.determinism import choose_device, deterministic, device_or_cpu
from raymu.training.patch import fine_tune_as_control
from raymu.training.trainer import ShardTrainer

Confidences = npt.NDArray[np.float64]
_BATCH = 4096


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditTask:
    """One model to train. Tasks on one shard share their pool."""

    pool: AuditSamples
    kind: ModelKind
    number: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditedModel:
    """confidences: (samples of the pool,) log odds of the true class; payload: its checkpoint; seconds: of compute"""

    payload: bytes
    weights_sha256: str
    confidences: Confidences
    passes: float
    seconds: float


def train_model(pool: AuditSamples, kind: ModelKind, number: int) -> AuditedModel:
    """Carry out a task: train one model from scratch, by the run's recipe. A function of its arguments, on any machine.

    Raises DeviceUnavailable where that lacks the pool's device.
    """
    plan = pool.plan
    if kind is ModelKind.ORACLE and number:
        plan = replace(plan, seed=derive_seed(plan.seed, "oracle", number))
    started = time.perf_counter()
    device = choose_device(pool.device)
    with deterministic(device, pool.threads, pool.plan.workers) as determinism:
        training = ShardTrainer(plan, pool.shard, device)
        samples = pool.samples.where(pool.members(kind, number))
        passes = sum(training.train_stage(samples, stage) for stage in range(len(plan.epochs)))
        return _audited(training, pool, determinism.json(), passes=passes, started=started)


def restored_model(pool: AuditSamples, payload: bytes, *, source: str) -> AuditedModel:
    """A checkpoint as it stands. Raises FileCorrupt."""
    started = time.perf_counter()
    device = device_or_cpu(pool.device)
    with deterministic(device, pool.threads, pool.plan.workers) as determinism:
        training = ShardTrainer(pool.plan, pool.shard, device)
        training.load(payload, source=source)
        return _audited(training, pool, determinism.json(), passes=0.0, started=started)


def control_model(pool: AuditSamples, before: AuditedModel, ohs: OhsConfig) -> AuditedModel:
    """The no-subtraction control: the model before, fine-tuned as `ohs` does. It forgot nothing."""
    started = time.perf_counter()
    device = device_or_cpu(pool.device)
    with deterministic(device, pool.threads, pool.plan.workers) as determinism:
        training = ShardTrainer(pool.plan, pool.shard, device)
        training.load(before.payload, source="the model before the request")
        retain = pool.samples.where(pool.is_retained)
        passes = fine_tune_as_control(training, retain, plan=pool.plan, shard=pool.shard, ohs=ohs)
        return _audited(training, pool, determinism.json(), passes=passes, started=started)


def true_class_log_odds(classifier: Classifier, samples: ShardSamples) -> Confidences:
    """log(p / (1 - p)) of each true class's probability p, from the logits: exact where p rounds to 1. returns: (samples,)"""
    classifier.model.eval()
    labels = torch.from_numpy(samples.labels.copy())
    parts: list[torch.Tensor] = []
    with torch.no_grad():
        for start in range(0, len(samples), _BATCH):
            logits = classifier.model(classifier.inputs(samples.features[start : start + _BATCH])).double().cpu()
            own = labels[start : start + _BATCH, None]
            others = logits.scatter(1, own, -torch.inf).logsumexp(dim=1)
            parts.append(logits.gather(1, own).squeeze(1) - others)
    return torch.cat(parts).numpy() if parts else np.zeros(0)


def _audited(
    training: ShardTrainer, pool: AuditSamples, determinism: str, *, passes: float, started: float
) -> AuditedModel:
    payload, weights = training.dump(stage=len(pool.plan.epochs) - 1, determinism=determinism)
    return AuditedModel(
        payload=payload,
        weights_sha256=weights,
        confidences=true_class_log_odds(training.classifier, pool.samples),
        passes=passes,
        seconds=time.perf_counter() - started,
    )
