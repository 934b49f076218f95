"""Candidate layouts (shards x slices) of a configuration under given traffic."""

import numpy as np

from raymu.config import Config
from raymu.config.stage_epochs import epochs_per_stage
from raymu.core.planning.expected_cost import Layout
from raymu.core.planning.recommendation import TrafficBudget
from raymu.core.planning.traffic import TRAFFIC, Traffic, slice_prior
from raymu.core.run_shape import RunShape
from raymu.service.planning.profile import Profile

SHARDS, SLICES = (2, 4, 8, 16, 32), (1, 2, 3, 5, 8, 10, 20)
"""The layouts to choose from, besides the configured one."""


class LayoutCandidates:
    """The layouts of a configuration, and the budget of the traffic on it."""

    def __init__(self, config: Config, profile: Profile, traffic: Traffic) -> None:
        self._config, self._profile, self._traffic = config, profile, traffic
        self._population = profile.population_of(config.partition)
        self.boundary = config.unlearning.boundary

    @property
    def samples(self) -> int:
        """Number of training samples."""
        return len(self._population)

    def configured(self) -> Layout:
        """Return the layout of the configuration."""
        return self._layout(self._config.partition.shards, self._population.slice_samples.mean(axis=0).tolist())

    def layouts(self) -> list[Layout]:
        """Return the candidates that give each stage an epoch and each slice a batch."""
        layouts = []
        for shards in SHARDS:
            for slices in SLICES:
                samples = self.samples / (shards * slices)
                if samples < self._config.training.batch_size or slices < self._config.unlearning.ohs.slices:
                    continue
                try:
                    layouts.append(self._layout(shards, [samples] * slices))
                except ValueError:  # too few epochs for so many slices
                    continue
        return layouts

    def budget(self, *, workers: int, budget_s: float, longest_s: float | None) -> TrafficBudget:
        """Return the traffic with the limits of its cost.

        Args:
            workers: Shards that are repaired side by side.
            budget_s: Compute seconds of all remedies.
            longest_s: Largest mean makespan of the requests that arrive together, in seconds.
        """
        requests, together = self._grouping()
        return TrafficBudget(
            requests=requests, together=together, workers=workers, most_seconds=budget_s, longest_s=longest_s
        )

    def _grouping(self) -> tuple[int, int]:
        """Express the traffic as requests for one sample each. Returns their number, and how many arrive together."""
        pattern, count = TRAFFIC[self._traffic.kind], self._traffic.count
        if not pattern.is_by_owner or self._config.partition.policy == "owner":  # then an owner's samples share a home
            return count, pattern.together(self._traffic)
        owners = self._population.rows_of_owner
        owned = max(1, round(sum(len(rows) for rows in owners.values()) / max(1, len(owners))))
        return count * owned, owned

    def _layout(self, shards: int, slice_samples: list[float]) -> Layout:
        """Build a layout of equal shards. Raises ValueError if a stage would get no epoch."""
        return Layout(
            shards=shards,
            slice_samples=tuple(slice_samples),
            slice_prior=tuple(slice_prior(self._traffic, np.array(slice_samples)).tolist()),
            shape=RunShape(
                unlearning=self._config.unlearning,
                epochs=epochs_per_stage(self._config.training.epochs, len(slice_samples)),
                has_batch_norm=self._profile.has_batch_norm,
            ),
            seconds_per_pass=self._profile.seconds_per_pass,
            seconds_per_stage=self._profile.seconds_per_stage,
        )
