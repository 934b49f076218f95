"""The layouts that a configuration could have, and what traffic asks of them."""

import numpy as np

from raymu.config import Config
from raymu.config.stage_epochs import epochs_per_stage
from raymu.core.planning.expected_cost import Layout
from raymu.core.planning.recommendation import TrafficBudget, exact_passes
from raymu.core.planning.traffic import TRAFFIC, Traffic, slice_prior
from raymu.core.workload import RunShape
from raymu.service.planning.profile import Profile

SHARDS, SLICES = (2, 4, 8, 16, 32), (1, 2, 3, 5, 8, 10, 20)
"""The layouts to choose among, besides the configured one."""


class LayoutCandidates:
    """What a configuration comes to under some traffic, in this layout or that."""

    def __init__(self, config: Config, survey: Profile, traffic: Traffic) -> None:
        self._config, self._survey, self._traffic = config, survey, traffic
        self._population = survey.populate(config.partition)
        self.boundary = config.unlearning.boundary

    @property
    def samples(self) -> int:
        return len(self._population)

    def configured(self) -> Layout:
        return self._prospect(self._config.partition.shards, self._population.slice_samples.mean(axis=0).tolist())

    def layouts(self) -> list[Layout]:
        """Those that give each stage an epoch and each slice a batch."""
        found = []
        for shards in SHARDS:
            for slices in SLICES:
                each = self.samples / (shards * slices)
                if each < self._config.training.batch_size or slices < self._config.unlearning.ohs.slices:
                    continue
                try:
                    found.append(self._prospect(shards, [each] * slices))
                except ValueError:  # too few epochs for so many slices
                    continue
        return found

    def demand(self, *, workers: int, budget_s: float | None, longest_s: float | None) -> TrafficBudget:
        """budget_s: compute of all remedies; as much as retraining takes in the configured layout where not given

        longest_s: mean makespan of the requests that come at a time
        """
        requests, together = self._grouping()
        if budget_s is None:
            most_passes = exact_passes(self.configured(), requests=requests, together=together)
        else:
            most_passes = budget_s / self._survey.seconds_per_pass
        return TrafficBudget(
            requests=requests, together=together, workers=workers, most_passes=most_passes, longest_s=longest_s
        )

    def _grouping(self) -> tuple[int, int]:
        """The traffic as requests of one sample each. returns: how many, and how many come at a time"""
        pattern, count = TRAFFIC[self._traffic.kind], self._traffic.count
        if (
            not pattern.is_by_owner or self._config.partition.policy == "owner"
        ):  # then an owner lives where one sample does
            return count, pattern.together(self._traffic)
        owners = self._population.rows_of_owner
        owned = max(1, round(sum(len(rows) for rows in owners.values()) / max(1, len(owners))))
        return count * owned, owned

    def _prospect(self, shards: int, slice_samples: list[float]) -> Layout:
        """slice_samples: of each shard. Raises ValueError where a stage would get no epoch."""
        return Layout(
            shards=shards,
            slice_samples=tuple(slice_samples),
            slice_prior=tuple(slice_prior(self._traffic, np.array(slice_samples)).tolist()),
            shape=RunShape(
                unlearning=self._config.unlearning,
                epochs=epochs_per_stage(self._config.training.epochs, len(slice_samples)),
                has_batch_norm=self._survey.has_batch_norm,
            ),
            seconds_per_pass=self._survey.seconds_per_pass,
        )
