"""Marks of certainty, against every extreme vote that an open shard may end with."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config.unlearning import AggregationName
from raymu.core.aggregate import AGGREGATIONS, voters_of
from raymu.core.arrays import Probabilities
from raymu.core.certainty import ROUNDING, OpenVotes
from raymu.core.records import Constituent, ShardLineage, ShardState
from tests.unit.core.examples import SLICES, checkpoint, lineage

CLASSES = 3
STATES = [ShardState.EXACT, ShardState.INCONCLUSIVE, ShardState.REWOUND, ShardState.ABSTAINING, ShardState.APPROXIMATE]


def constituent(shard: int, state: ShardState, samples: int, stages: int = SLICES) -> Constituent:
    is_voting = state is not ShardState.ABSTAINING
    stages = stages if state is ShardState.REWOUND else SLICES
    return Constituent(
        shard=shard,
        state=state,
        checkpoint=checkpoint(shard, stages - 1) if is_voting else None,
        stages_trained=stages if is_voting else 0,
        samples=samples * stages // SLICES if is_voting else 0,
    )


def outcomes(
    constituents: list[Constituent],
    lineages: list[ShardLineage],
    is_open: list[bool],
    votes: dict[int, Probabilities],
    name: AggregationName,
) -> list[np.ndarray]:
    """Return what the ensemble may answer in the end: each open shard has no vote, or votes wholly for one class.

    Votes between these are mixtures of them, so no other vote brings a class further ahead.
    """
    answers = []
    for choice in product(*[[None, *range(CLASSES)] if may_change else [-1] for may_change in is_open]):
        voting, probabilities = [], []
        for each, own, chosen in zip(constituents, lineages, choice, strict=True):
            if chosen is None or (chosen == -1 and each.checkpoint is None):
                continue
            if chosen == -1:
                voting.append(each)
                probabilities.append(votes[each.shard])
                continue
            repaired = constituent(each.shard, ShardState.EXACT, own.samples)
            voting.append(repaired)
            samples = next(iter(votes.values())).shape[0]
            probabilities.append(np.tile(np.eye(CLASSES, dtype=np.float32)[chosen], (samples, 1)))
        if voting:
            answers.append(AGGREGATIONS[name](np.stack(probabilities), voters_of(voting, SLICES)))
    return answers


@pytest.mark.parametrize("name", AGGREGATIONS)
@given(data=st.data())
def test_an_answer_is_certain_if_and_only_if_no_extreme_vote_changes_it(
    name: AggregationName, data: st.DataObject
) -> None:
    shards = data.draw(st.integers(1, 5))
    states = data.draw(st.lists(st.sampled_from(STATES), min_size=shards, max_size=shards))
    awaited = {shard for shard in range(shards) if data.draw(st.integers(0, 4)) == 0}
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=shards, max_size=shards))
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    lineages = [replace(lineage(shard), slice_samples=(size,) * SLICES) for shard, size in enumerate(sizes)]
    constituents = [
        constituent(shard, state, lineages[shard].samples, stages=int(random.integers(1, SLICES + 1)))
        for shard, state in enumerate(states)
    ]
    sharpness = data.draw(st.sampled_from([0.05, 1.0]))
    votes = {shard: random.dirichlet(np.full(CLASSES, sharpness), size=4).astype(np.float32) for shard in range(shards)}
    voting = [each for each in constituents if each.checkpoint]
    open_votes = OpenVotes.of(constituents, lineages, aggregation=name, awaited=awaited)
    marks = open_votes.certain(
        np.stack([votes[each.shard] for each in voting]) if voting else np.zeros((0, 4, CLASSES), dtype=np.float32)
    )
    is_open = [state in STATES[2:] or shard in awaited for shard, state in enumerate(states)]
    possible = outcomes(constituents, lineages, is_open, votes, name)
    if voting:
        possible.append(AGGREGATIONS[name](np.stack([votes[each.shard] for each in voting]), voters_of(voting, SLICES)))
    for row in range(4):
        answers = {int(answer[row].argmax()) for answer in possible}
        if marks[row]:
            assert len(answers) == 1
        elif len(answers) == 1 and not all(is_open):
            rivals = [np.sort(answer[row])[-2:] for answer in possible]
            nearest = min(float(first - second) for second, first in rivals)
            assert nearest <= 10 * ROUNDING, "only a tie, up to rounding, is left uncertain"


def test_an_open_shard_without_samples_never_votes_again() -> None:
    empty = replace(lineage(1), slice_samples=(0,) * SLICES)
    constituents = [constituent(0, ShardState.EXACT, 40), constituent(1, ShardState.ABSTAINING, 0)]
    open_votes = OpenVotes.of(constituents, [lineage(0), empty], aggregation=AggregationName.MEAN_PROBABILITY)
    assert open_votes.certain(np.array([[[0.51, 0.49]]], dtype=np.float32)).tolist() == [True]


def test_a_rewound_shard_may_end_with_its_whole_weight_against_the_answer() -> None:
    constituents = [constituent(0, ShardState.EXACT, 40), constituent(1, ShardState.REWOUND, 40, stages=1)]
    both = [lineage(0), lineage(1)]
    probabilities = np.array([[[0.9, 0.1]], [[1.0, 0.0]]], dtype=np.float32)
    open_votes = OpenVotes.of(constituents, both, aggregation=AggregationName.MEAN_PROBABILITY)
    assert open_votes.certain(probabilities).tolist() == [False]
    three = [*constituents, constituent(2, ShardState.EXACT, 40)]
    open_votes = OpenVotes.of(three, [*both, lineage(2)], aggregation=AggregationName.MEAN_PROBABILITY)
    assert open_votes.certain(np.concatenate([probabilities, probabilities[:1]])).tolist() == [True]
