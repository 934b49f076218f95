"""How constituents vote. A row of AGGREGATIONS takes probabilities and weights and returns probabilities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.config.unlearning import AggregationName
from raymu.core.arrays import Probabilities
from raymu.core.records import Constituent

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Voters:
    """One entry per voting constituent. stages: trained share of its stages, within (0, 1]; samples: retained samples."""

    stages: Weights
    samples: Weights


Aggregation = Callable[[Probabilities, Voters], Probabilities]


def mean_probability(probabilities: Probabilities, voters: Voters) -> Probabilities:
    """Mean of the constituents' probabilities, weighted by (stages trained) / R, a rule that looks at no data.

    probabilities: (voters, samples, classes) float32
    returns: (samples, classes) float32
    """
    return _weighted(probabilities, voters.stages)


def size_weighted(probabilities: Probabilities, voters: Voters) -> Probabilities:
    """As mean_probability, weighted by the constituent's retained samples too."""
    return _weighted(probabilities, voters.stages * voters.samples)


def majority_vote(probabilities: Probabilities, voters: Voters) -> Probabilities:
    """Each class's share of the votes, one weighted vote per constituent; a tie goes to the lower class."""
    classes = probabilities.shape[-1]
    votes = np.eye(classes, dtype=np.float32)[probabilities.argmax(axis=-1)]
    return _weighted(votes, voters.stages)


def _weighted(values: Probabilities, weights: Weights) -> Probabilities:
    # float64, in the order of the shards: the same bits whatever computed the constituents.
    return np.einsum("vsc,v->sc", values.astype(np.float64), weights / weights.sum()).astype(np.float32)


AGGREGATIONS: Mapping[AggregationName, Aggregation] = {
    AggregationName.MEAN_PROBABILITY: mean_probability,
    AggregationName.MAJORITY_VOTE: majority_vote,
    AggregationName.SIZE_WEIGHTED: size_weighted,
}


def voters_of(constituents: Sequence[Constituent], slices: int) -> Voters:
    """The weights of the constituents that vote. constituents: those that do not abstain"""
    return Voters(
        stages=np.array([one.stages_trained / slices for one in constituents], dtype=np.float64),
        samples=np.array([one.samples for one in constituents], dtype=np.float64),
    )
