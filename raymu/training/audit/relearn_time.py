"""Relearn time: a model that still knows its forget set learns it again sooner than one that never saw it."""

from raymu.training.audit.samples import AuditSamples
from raymu.training.determinism import deterministic, device_or_cpu
from raymu.training.trainer import ShardTrainer

MAX_STEPS = 200
_RATE_SHARE = 0.1
"""Share of the training's learning rate. At the whole rate all models relearn within a few steps."""


def relearning_steps(samples: AuditSamples, payload: bytes, *, target: float) -> int | None:
    """Count optimizer steps on the whole forget set until its mean loss is at most the target.

    The model is in evaluation mode, since a single sample has no batch statistics.

    Args:
        samples: Samples of the shard.
        payload: The checkpoint to start from.
        target: Mean loss, in nats for cross-entropy.

    Returns:
        None after MAX_STEPS.
    """
    device = device_or_cpu(samples.device)
    with deterministic(device, samples.threads):
        trainer = ShardTrainer(samples.spec, samples.shard, device)
        trainer.load(payload, source="an audited model")
        trainer.reset_optimizer()
        trainer.set_rate(_RATE_SHARE * samples.spec.training.learning_rate)
        forget = samples.samples.where(samples.is_forgotten)
        classifier = trainer.classifier
        batch = classifier.prepare(forget.features).all()
        targets = classifier.targets(forget.labels)
        classifier.model.eval()
        for step in range(MAX_STEPS + 1):
            trainer.optimizer.zero_grad(set_to_none=True)
            loss = classifier.loss(classifier.forward(batch), targets)
            if loss.item() <= target:
                return step
            loss.backward()
            trainer.optimizer.step()
    return None
