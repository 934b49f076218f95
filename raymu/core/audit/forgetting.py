"""How near a remedy's models come to retrained ones: the record of one remedy, measured, and its ratio to the floor.

The floor is the distance of two oracles of different seeds from each other. Exact retrainings differ as much.
"""

from dataclasses import dataclass

import numpy as np

from raymu.core.audit.klom import Klom, gaussian_klom, klom
from raymu.core.audit.roc import Estimate
from raymu.core.audit.signals import Confidences, probabilities
from raymu.core.audit.unlearning_lira import unlearning_lira
from raymu.core.records import Cost


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModelConfidences:
    """Confidences of models of one kind, each trained with a seed of its own."""

    forget: Confidences
    """(models, samples) of the forget set."""
    retained: Confidences
    """(models, samples) of samples that all models were trained on."""
    test: Confidences
    """(models, samples) of samples that none was trained on."""

    def __post_init__(self) -> None:
        if not len(self.forget) == len(self.retained) == len(self.test) >= 3:
            raise ValueError("three or more models are needed, and each has confidences on all three kinds of samples")

    def __len__(self) -> int:
        return len(self.forget)


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleDistance:
    """The distance of models from oracles on samples of one kind."""

    klom: Klom
    """Binned, as published. Comparable only between equal numbers of models."""
    gaussian_klom: Klom
    """Of two normal distributions, for few models."""
    paired: float
    """Mean absolute difference of the true class's probability from that of the oracle with the same seed."""

    @classmethod
    def of(cls, unlearned: Confidences, *, paired: Confidences, oracles: Confidences) -> "OracleDistance":
        """Measure. The arrays are (models, samples); those of `forgetting_of` say which models they are."""
        return cls(
            klom=Klom.over(klom(unlearned, oracles)),
            gaussian_klom=Klom.over(gaussian_klom(unlearned, oracles)),
            paired=float(np.abs(probabilities(unlearned) - probabilities(paired)).mean()),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FloorRatio:
    """Distances on the forget set as multiples of the floor's: 1 is as near as a retraining with another seed."""

    klom: float
    """Of the mean binned KLoM."""
    gaussian_klom: float
    """Of the mean Gaussian KLoM."""
    paired: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgetting:
    """One remedy, measured over models of several seeds."""

    models: int
    forget: OracleDistance
    retained: OracleDistance
    test: OracleDistance
    lira: Estimate
    """Accuracy of U-LiRA on the forget set; 0.5 if it can only guess."""
    relearning_steps: float | None
    """Mean number of optimizer steps until the forget set is known as before; None if it was not measured."""
    accuracy: float
    """Test accuracy, mean of the models."""
    cost: Cost
    """Mean of the models."""

    def over_floor(self, floor: "Forgetting") -> FloorRatio:
        """Divide by the floor: the record of oracles that are compared with oracles of other seeds."""
        return FloorRatio(
            klom=ratio_to_floor(self.forget.klom.mean, floor.forget.klom.mean),
            gaussian_klom=ratio_to_floor(self.forget.gaussian_klom.mean, floor.forget.gaussian_klom.mean),
            paired=ratio_to_floor(self.forget.paired, floor.forget.paired),
        )


def forgetting_of(
    unlearned: ModelConfidences,
    *,
    paired: ModelConfidences,
    oracles: ModelConfidences,
    accuracy: float,
    cost: Cost,
    relearning_steps: float | None = None,
    seed: int,
) -> Forgetting:
    """Measure the models that a remedy left.

    The floor is this function of oracles: `unlearned` are those of the remedy's seeds, `paired` and `oracles` the others.

    Args:
        unlearned: The remedy's models.
        paired: Oracles of the same seeds, in the same order.
        oracles: As many oracles of other seeds. Models of one seed resemble each other, so that a distribution of paired
            oracles would be nearer than an independent one.
        accuracy: Test accuracy of the remedy's models, mean.
        cost: Cost of the remedy, mean.
        relearning_steps: As in `Forgetting`.
        seed: Seed of the interval's draws.
    """
    forget, retained, test = (
        OracleDistance.of(getattr(unlearned, kind), paired=getattr(paired, kind), oracles=getattr(oracles, kind))
        for kind in ("forget", "retained", "test")
    )
    return Forgetting(
        models=len(unlearned),
        forget=forget,
        retained=retained,
        test=test,
        lira=unlearning_lira(unlearned.forget, oracles.forget, seed=seed),
        relearning_steps=relearning_steps,
        accuracy=accuracy,
        cost=cost,
    )


def ratio_to_floor(distance: float, floor: float) -> float:
    """Divide a distance by the floor, which is 0 for models that do not differ at all."""
    if floor > 0.0:
        return distance / floor
    return 1.0 if distance == 0.0 else float("inf")
