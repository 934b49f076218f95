"""Certain answers: those whose class no vote of a shard that is not settled can change."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from raymu.config.unlearning import AggregationName
from raymu.core.aggregate import VOTE_WEIGHTS, Voters, Weights
from raymu.core.arrays import Probabilities
from raymu.core.records import Constituent, ShardLineage, ShardState

Marks = npt.NDArray[np.bool_]

ROUNDING = 1e-6
"""Share of all weights by which a class has to be ahead beyond the others' votes: predictions are rounded to float32."""
_PENDING = (ShardState.REWOUND, ShardState.ABSTAINING, ShardState.APPROXIMATE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenVotes:
    """The votes of a generation that may still become any others."""

    aggregation: AggregationName
    weights: Weights
    """(voters,) what the aggregation weights the votes by, with 0 for voters whose votes may change."""
    open_weight: float
    """The most that the votes of all shards which are not settled can weigh together."""

    @classmethod
    def of(
        cls,
        constituents: Sequence[Constituent],
        lineages: Sequence[ShardLineage],
        *,
        aggregation: AggregationName,
        awaited: Collection[int] = (),
    ) -> Self:
        """Find the open votes of a generation.

        A shard is open if it is rewound, abstains or is patched, or if a request waits for it. It may end with any state, or
        with no vote. At most it votes as a shard that is trained on all the samples which it has now.

        Args:
            constituents: What each shard serves.
            lineages: The lineage of each shard, in the same order.
            aggregation: The rule that combines votes.
            awaited: Further shards that requests wait for, as with `on_accept: keep`.
        """
        is_open = [each.state in _PENDING or each.shard in awaited for each in constituents]
        most = [
            lineage.samples
            for lineage, may_change in zip(lineages, is_open, strict=True)
            if may_change and lineage.samples
        ]
        voting = [(each, may_change) for each, may_change in zip(constituents, is_open, strict=True) if each.checkpoint]
        return cls(
            aggregation=aggregation,
            weights=_weights(
                aggregation,
                stages=[0.0 if may_change else each.stages_trained / lineages[0].slices for each, may_change in voting],
                samples=[each.samples for each, _ in voting],
            ),
            open_weight=float(_weights(aggregation, stages=[1.0] * len(most), samples=most).sum()),
        )

    def certain(self, probabilities: Probabilities) -> Marks:
        """Mark the samples whose class stays the same whatever the open votes become.

        Whatever they are, they add to the settled votes, class by class, no more than `open_weight` in all. So a class that
        is ahead of each other one by more than that stays ahead. Dividing by the sum of all weights moves no class past
        another.

        Args:
            probabilities: (voters, samples, classes) float32, of all voters.

        Returns:
            (samples,).
        """
        voters, samples, classes = probabilities.shape
        if not self.open_weight:
            return np.ones(samples, dtype=np.bool_)
        if classes < 2:
            return np.ones(samples, dtype=np.bool_)
        votes = probabilities
        if self.aggregation is AggregationName.MAJORITY_VOTE:
            votes = np.eye(classes, dtype=np.float32)[probabilities.argmax(axis=-1)]
        assert voters == len(self.weights), "there is a weight for each voter"
        settled = np.einsum("vsc,v->sc", votes.astype(np.float64), self.weights)
        second, first = np.partition(settled, classes - 2, axis=1)[:, -2:].T
        margin = ROUNDING * (self.weights.sum() + self.open_weight)
        return np.asarray(first - second > self.open_weight + margin)


def _weights(aggregation: AggregationName, *, stages: Iterable[float], samples: Iterable[float]) -> Weights:
    voters = Voters(stages=np.array([*stages], dtype=np.float64), samples=np.array([*samples], dtype=np.float64))
    return VOTE_WEIGHTS[aggregation](voters)
