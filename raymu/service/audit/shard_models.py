"""The models of one audited shard, and their scores on its samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raymu.core.arrays import Mask
from raymu.core.audit.attacks import ATTACKS, Scores
from raymu.core.audit.epsilon import epsilon_bounds
from raymu.core.audit.oracle_comparison import OracleComparison
from raymu.core.audit.signals import Confidences, Signals
from raymu.core.partition import Hashes
from raymu.core.records import Cost
from raymu.core.remedies import training_passes
from raymu.service.audit.report import PerModel, Role, RowName
from raymu.training.audit.remedy import AuditedRemedy
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, AuditTask

TWINS = 3
"""Oracles with seeds of their own. They show how much exact retrainings differ from each other."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Repetitions:
    """The models of a shard in all repetitions. Models at one place in these tuples have the same seed."""

    before: tuple[AuditedModel, ...]
    remedied: tuple[AuditedModel, ...]
    controls: tuple[AuditedModel, ...]
    oracles: tuple[AuditedModel, ...]
    others: tuple[AuditedModel, ...]
    """Further oracles, each with a seed of its own."""
    remedy_cost: Cost
    """Of one remedy, mean."""
    control_cost: Cost
    """Of one fine-tuning, mean."""
    oracle_cost: Cost
    """Of retraining from the earliest slice that has a forgotten sample."""
    is_equal: bool | None
    """Whether a retraining that was repeated gave the oracle bit for bit; None if the shard is patched."""

    def of(self, row: RowName) -> tuple[AuditedModel, ...]:
        """Return the models of a row."""
        match row:
            case "remedy":
                return self.remedied
            case "untouched":
                return self.before
            case "control":
                return self.controls
            case "other_seed":
                return self.others
            case "exact":
                return self.oracles

    def cost(self, row: RowName) -> Cost:
        """Return the cost of a row's remedy, mean of the repetitions."""
        costs: dict[RowName, Cost] = {
            "remedy": self.remedy_cost,
            "untouched": Cost(passes=0.0, seconds=0.0),
            "control": self.control_cost,
        }
        return costs.get(row, self.oracle_cost)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardModels:
    """The models of a shard, and their predictions for its audit samples."""

    audit_samples: AuditSamples
    models: PerModel[AuditedModel]
    before: AuditedModel
    """The model that saw the forgotten samples."""
    twins: Confidences
    """(TWINS, samples): confidences of oracles with other seeds"""
    shadows: Confidences
    """(shadow models, samples)"""
    is_in: Mask
    """(shadow models, samples): whether a shadow model was trained on a sample"""
    scores: Mapping[str, PerModel[Scores]]
    """Attack -> (samples,) scores of each model"""
    epsilons: Scores
    """(samples,) lower bounds on what the training recipe reveals of a sample"""
    repetitions: Repetitions | None
    """None if the remedy is not repeated."""
    passes: float
    """Sample passes of all models."""
    seconds: float
    """Compute seconds of all models."""

    @property
    def is_oracle(self) -> bool:
        """Whether the served model equals the oracle bit for bit."""
        return self.models.served.weights_sha256 == self.models.oracle.weights_sha256

    def oracle_comparison(self, role: Role, forgotten: Hashes) -> OracleComparison:
        """Compare a model with the oracles on some of the forgotten samples and on all unseen ones."""
        is_forgotten = self.audit_samples.samples.isin(forgotten)
        is_compared = is_forgotten | self.audit_samples.is_unseen
        return OracleComparison(
            model=self.models.of(role).confidences[is_compared],
            oracles=self.twins[:, is_compared],
            shadows=self.shadows[:, is_compared],
            is_in=self.is_in[:, is_compared],
            is_forgotten=is_forgotten[is_compared],
        )


def audit_tasks(
    audit_samples: AuditSamples, remedy: AuditedRemedy, *, shadow_models: int, repetitions: int
) -> list[AuditTask]:
    """Return the models to train for one shard.

    Repetition i takes the models before the request and the oracles with number i, and compares them with the oracle of
    another seed, number `repetitions` + i. The first models of both kinds serve the attacks as well.
    """
    counts = {
        ModelKind.BEFORE: max(1, repetitions),
        ModelKind.ORACLE: max(1 + TWINS, 2 * repetitions),
        ModelKind.SHADOW: shadow_models,
    }
    return [
        AuditTask(samples=audit_samples, kind=kind, number=number, remedy=remedy if kind is ModelKind.BEFORE else None)
        for kind, count in counts.items()
        for number in range(count)
    ]


def score_models(
    audit_samples: AuditSamples,
    remedy: AuditedRemedy,
    served: AuditedModel,
    tasks: Sequence[AuditTask],
    trained: Sequence[AuditedModel],
) -> ShardModels:
    """Score the served model, the oracle and the control with every attack.

    Args:
        audit_samples: The shard's samples.
        remedy: What was done to the shard.
        served: The model that the run serves.
        tasks: The tasks of the shard.
        trained: Their models, in order.
    """
    before, oracles, shadow_models = (
        tuple(model for task, model in zip(tasks, trained, strict=True) if task.kind is kind)
        for kind in (ModelKind.BEFORE, ModelKind.ORACLE, ModelKind.SHADOW)
    )
    controls = tuple(model.control for model in before if model.control)
    remedied = tuple(model.remedied for model in before if model.remedied)
    models = PerModel(served=served, oracle=oracles[0], control=controls[0])
    shadows = np.stack([model.confidences for model in shadow_models])
    is_in = np.stack([audit_samples.members(ModelKind.SHADOW, number) for number in range(len(shadows))])

    def signals(model: AuditedModel) -> Signals:
        return Signals(
            target=model.confidences,
            before=before[0].confidences,
            shadows=shadows,
            is_in=is_in,
            is_population=audit_samples.is_unseen,
        )

    every = (*trained, *controls, *remedied)
    return ShardModels(
        audit_samples=audit_samples,
        models=models,
        before=before[0],
        twins=np.stack([oracle.confidences for oracle in oracles[1 : 1 + TWINS]]),
        shadows=shadows,
        is_in=is_in,
        scores={name: models.map(signals).map(attack) for name, attack in ATTACKS.items()},
        epsilons=epsilon_bounds(shadows, is_in),
        repetitions=_repetitions(audit_samples, remedy, before, oracles) if remedied else None,
        passes=sum(model.passes for model in every),
        seconds=sum(model.seconds for model in every),
    )


def _repetitions(
    samples: AuditSamples,
    remedy: AuditedRemedy,
    before: tuple[AuditedModel, ...],
    oracles: tuple[AuditedModel, ...],
) -> Repetitions:
    """Put the repetitions together. A retraining is repeated once: what the others would give is their oracles."""
    count = len(before)
    controls = tuple(model.control for model in before if model.control)
    repeated = tuple(model.remedied for model in before if model.remedied)
    return Repetitions(
        before=before,
        remedied=repeated + oracles[len(repeated) : count],
        controls=controls,
        oracles=oracles[:count],
        others=oracles[count : 2 * count],
        remedy_cost=_mean_cost(repeated),
        control_cost=_mean_cost(controls),
        oracle_cost=_retraining_cost(samples, oracles),
        is_equal=repeated[0].weights_sha256 == oracles[0].weights_sha256 if remedy.is_retrained else None,
    )


def _mean_cost(models: Sequence[AuditedModel]) -> Cost:
    return Cost(
        passes=sum(model.passes for model in models) / len(models),
        seconds=sum(model.seconds for model in models) / len(models),
    )


def _retraining_cost(samples: AuditSamples, oracles: Sequence[AuditedModel]) -> Cost:
    """Return the part of the oracles' cost that retraining from the earliest slice takes."""
    epochs = samples.spec.epochs
    retained = samples.samples.where(samples.is_retained).slice_samples(len(epochs))
    earliest = int(samples.samples.slices[samples.is_forgotten].min())
    passes = training_passes(retained, epochs, stages=range(earliest, len(epochs)))
    whole = _mean_cost(oracles)
    return Cost(passes=passes, seconds=whole.seconds * passes / max(whole.passes, 1.0))
