"""Aggregations: each row of `AGGREGATIONS` combines the probabilities of the constituents into the ensemble's."""

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
    """The values that weight the votes, with one entry for each voting constituent."""

    stages: Weights
    """(voters,) share of the stages that are trained, within (0, 1]."""
    samples: Weights
    """(voters,) number of retained samples."""


Aggregation = Callable[[Probabilities, Voters], Probabilities]


def mean_probability(probabilities: Probabilities, voters: Voters) -> Probabilities:
    """Average the probabilities, weighted by the share of trained stages, a rule that looks at no data.

    Args:
        probabilities: (voters, samples, classes) float32.
        voters: The weights.

    Returns:
        (samples, classes) float32.
    """
    return _weighted(probabilities, _stages(voters))


def size_weighted(probabilities: Probabilities, voters: Voters) -> Probabilities:
    """Average the probabilities, weighted by the share of trained stages times the retained samples."""
    return _weighted(probabilities, _stages_and_samples(voters))


def majority_vote(probabilities: Probabilities, voters: Voters) -> Probabilities:
    """Count one weighted vote per constituent, and return each class's share. A tie goes to the lower class."""
    classes = probabilities.shape[-1]
    votes = np.eye(classes, dtype=np.float32)[probabilities.argmax(axis=-1)]
    return _weighted(votes, _stages(voters))


def _stages(voters: Voters) -> Weights:
    return voters.stages


def _stages_and_samples(voters: Voters) -> Weights:
    return voters.stages * voters.samples


def _weighted(values: Probabilities, weights: Weights) -> Probabilities:
    # float64, summed in the order of the shards, so that every device gives the same bits.
    return np.einsum("vsc,v->sc", values.astype(np.float64), weights / weights.sum()).astype(np.float32)


AGGREGATIONS: Mapping[AggregationName, Aggregation] = {
    AggregationName.MEAN_PROBABILITY: mean_probability,
    AggregationName.MAJORITY_VOTE: majority_vote,
    AggregationName.SIZE_WEIGHTED: size_weighted,
}


VOTE_WEIGHTS: Mapping[AggregationName, Callable[[Voters], Weights]] = {
    AggregationName.MEAN_PROBABILITY: _stages,
    AggregationName.MAJORITY_VOTE: _stages,
    AggregationName.SIZE_WEIGHTED: _stages_and_samples,
}
"""Each row returns what an aggregation weights the votes by: (voters,)."""


def vote_shares(aggregation: AggregationName, voters: Voters) -> Weights:
    """Return the share of each voter in an aggregation, (voters,). The shares add up to 1."""
    weights = VOTE_WEIGHTS[aggregation](voters)
    return weights / weights.sum()


def voters_of(constituents: Sequence[Constituent], slices: int) -> Voters:
    """Collect the weights of constituents, none of which abstains."""
    return Voters(
        stages=np.array([constituent.stages_trained / slices for constituent in constituents], dtype=np.float64),
        samples=np.array([constituent.samples for constituent in constituents], dtype=np.float64),
    )
