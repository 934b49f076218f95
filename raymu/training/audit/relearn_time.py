"""How soon a model learns its forget set again: one that still knows it, sooner than one that never saw it."""

import torch
from torch.nn import functional as F

from raymu.training.audit.samples import AuditSamples
from raymu.training.determinism import deterministic, device_or_cpu
from raymu.training.trainer import ShardTrainer

MOST_STEPS = 200
_RATE_SHARE = 0.1
"""Of the training's learning rate: at the whole rate all models are there within a few steps."""


def relearning_steps(pool: AuditSamples, payload: bytes, *, aim: float) -> int | None:
    """Optimizer steps on the whole forget set until its mean loss is at most the aim, in nats; None past MOST_STEPS.

    In evaluation mode, since a single sample has no batch statistics. payload: the checkpoint to start from
    """
    device = device_or_cpu(pool.device)
    with deterministic(device, pool.threads):
        training = ShardTrainer(pool.plan, pool.shard, device)
        training.load(payload, source="an audited model")
        training.reset_optimizer()
        training.set_rate(_RATE_SHARE * pool.plan.training.learning_rate)
        forget = pool.samples.where(pool.is_forgotten)
        inputs = training.classifier.inputs(forget.features)
        labels = torch.from_numpy(forget.labels).to(device)
        training.classifier.model.eval()
        for step in range(MOST_STEPS + 1):
            training.optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(training.classifier.model(inputs), labels)
            if loss.item() <= aim:
                return step
            loss.backward()
            training.optimizer.step()
    return None
