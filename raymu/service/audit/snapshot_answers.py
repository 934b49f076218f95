"""The answers of a run before and after a visible change, from the votes of its shards."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from raymu.config.unlearning import AggregationName
from raymu.core.aggregate import AGGREGATIONS, voters_of
from raymu.core.arrays import Floats, Labels, Probabilities
from raymu.core.audit.two_snapshots import AnswerPairs
from raymu.core.certainty import OpenVotes
from raymu.core.partition import Indices
from raymu.core.records import Constituent, Generation, ShardState
from raymu.service.audit.snapshot_votes import ShardVotes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ServedVotes:
    """What a shard serves, and the votes of it."""

    constituent: Constituent
    votes: Probabilities | None
    """(questions, classes) float32; None if the shard abstains."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """Answers to all questions."""

    outputs: Floats
    """(questions, classes) probabilities. They are equal if no shard votes, since the run answers nothing then."""
    certain: Floats
    """(questions,) 1 where the answer is marked as certain."""


def answers_of(
    generation: Generation, served: Mapping[int, ServedVotes], *, aggregation: AggregationName, shape: tuple[int, int]
) -> Answers:
    """Combine the votes of all shards as the run combines them.

    Args:
        generation: Has the lineages.
        served: Shard -> what it serves. All shards, in their order.
        aggregation: The rule that combines votes.
        shape: Number of questions, and of classes.
    """
    votes = [each.votes for each in served.values() if each.votes is not None]
    if not votes:
        return Answers(outputs=np.full(shape, 1.0 / shape[1]), certain=np.zeros(shape[0]))
    voting = [each.constituent for each in served.values() if each.votes is not None]
    voters = voters_of(voting, generation.lineages[0].slices)
    open_votes = OpenVotes.of(
        [each.constituent for each in served.values()], generation.lineages, aggregation=aggregation
    )
    return Answers(
        outputs=np.asarray(AGGREGATIONS[aggregation](np.stack(votes), voters), dtype=np.float64),
        certain=open_votes.certain(np.stack(votes)).astype(np.float64),
    )


def after_repair(before: ServedVotes, repaired: ShardVotes) -> ServedVotes:
    """Return what a shard serves after a repair."""
    if repaired.votes is None:
        abstaining = replace(
            before.constituent, state=ShardState.ABSTAINING, checkpoint=None, stages_trained=0, samples=0
        )
        return ServedVotes(constituent=abstaining, votes=None)
    state = ShardState.APPROXIMATE if repaired.is_patched else ShardState.EXACT
    return ServedVotes(
        constituent=replace(before.constituent, state=state, samples=repaired.samples), votes=repaired.votes
    )


def pairs_of(before: Answers, after: Answers, truth: Labels, places: Indices) -> AnswerPairs:
    """Return the pairs of answers about some of the questions.

    Args:
        before: The answers before.
        after: Those after.
        truth: (questions,) the true classes.
        places: (samples,) numbers of the questions.
    """
    return AnswerPairs(
        before=before.outputs[places],
        after=after.outputs[places],
        truth=truth[places],
        marks=np.stack([before.certain[places], after.certain[places]], axis=1),
    )
