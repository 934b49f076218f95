import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config.unlearning import AggregationName
from raymu.core.aggregate import AGGREGATIONS, Voters, voters_of
from raymu.core.records import Constituent, ShardState
from tests.unit.core.examples import checkpoint

PROBABILITIES = np.array([[[0.9, 0.1]], [[0.4, 0.6]], [[0.3, 0.7]]], dtype=np.float32)


def voters(stages: list[float], samples: list[float]) -> Voters:
    return Voters(stages=np.array(stages), samples=np.array(samples))


def test_mean_probability_weights_by_trained_stages() -> None:
    aggregated = AGGREGATIONS[AggregationName.MEAN_PROBABILITY](PROBABILITIES, voters([1.0, 0.5, 0.5], [1, 1, 1]))
    np.testing.assert_allclose(aggregated, [[(0.9 + 0.2 + 0.15) / 2, (0.1 + 0.3 + 0.35) / 2]], rtol=1e-6)


def test_majority_vote_counts_predictions() -> None:
    np.testing.assert_allclose(
        AGGREGATIONS[AggregationName.MAJORITY_VOTE](PROBABILITIES, voters([1, 1, 1], [1, 1, 1])),
        [[1 / 3, 2 / 3]],
        rtol=1e-6,
    )
    half_trained = AGGREGATIONS[AggregationName.MAJORITY_VOTE](PROBABILITIES, voters([1.0, 0.2, 0.2], [1, 1, 1]))
    assert half_trained.argmax() == 0


def test_size_weighted_weights_by_samples_too() -> None:
    aggregated = AGGREGATIONS[AggregationName.SIZE_WEIGHTED](PROBABILITIES, voters([1, 1, 1], [30, 10, 0]))
    np.testing.assert_allclose(aggregated, [[0.75 * 0.9 + 0.25 * 0.4, 0.75 * 0.1 + 0.25 * 0.6]], rtol=1e-6)


@pytest.mark.parametrize("name", AGGREGATIONS)
@given(seed=st.integers(0, 1000), constituents=st.integers(1, 6))
def test_aggregated_probabilities_sum_to_one(name: AggregationName, seed: int, constituents: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(4), size=(constituents, 5)).astype(np.float32)
    weights = voters(random.uniform(0.1, 1, constituents).tolist(), random.uniform(1, 9, constituents).tolist())
    aggregated = AGGREGATIONS[name](probabilities, weights)
    assert aggregated.dtype == np.float32
    np.testing.assert_allclose(aggregated.sum(axis=1), 1.0, atol=1e-5)


def test_a_rewound_constituent_votes_with_its_share_of_stages() -> None:
    rewound = Constituent(shard=0, state=ShardState.REWOUND, checkpoint=checkpoint(0, 1), stages_trained=2, samples=20)
    weights = voters_of([rewound], 5)
    assert (weights.stages.tolist(), weights.samples.tolist()) == ([0.4], [20.0])
