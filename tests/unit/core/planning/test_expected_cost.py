"""Expected work, compared with the board's work: over all possible traces with their probabilities, and over drawn ones."""

from collections import Counter
from dataclasses import astuple, replace
from itertools import product
from math import prod
from statistics import fmean
from typing import Any

import pytest

from raymu.config import OhsConfig, UnlearningConfig
from raymu.config.stage_epochs import epochs_per_stage
from raymu.config.unlearning import Boundary, Contributions, OhsRemedy, Strategy
from raymu.core.planning.expected_cost import (
    Layout,
    expected_cost,
    expected_costs,
    expected_curve,
    remedy_table,
    sampled_forecasts,
)
from raymu.core.planning.simulated_shard import untrained_lineages
from raymu.core.planning.simulator import SimulationSummary, simulate
from raymu.core.planning.traffic import TRAFFIC, Traffic, draw_trace, slice_prior
from raymu.core.records import Remedy
from raymu.core.run_shape import RunShape
from tests.unit.core.populations import even_population, population, singles

SHARDS, SLICES, EACH = 2, 3, 200  # more samples in a shard than the unseen ones that end fine-tuning
EPOCHS = (3, 2, 2)
PRIOR = (0.2, 0.5, 0.3)
SPEED = {"seconds_per_pass": 1e-3, "seconds_per_stage": 0.02}
APART_S = 1e6
"""Seconds between groups of requests, in which every remedy is done."""

REPLAY = OhsConfig(remedy=OhsRemedy.REPLAY, slices=1)
CASES: dict[str, tuple[str, float, dict[str, Any]]] = {
    "sisa": ("sisa", 1.0, {}),
    "dpus": ("dpus", 0.0, {}),
    "dpus by curvature": ("dpus", 0.0, {"contributions": Contributions.CURVATURE}),
    "hs by curvature, which saves no time": ("hs", 0.7, {"contributions": Contributions.CURVATURE}),
    "hs from slice 1 on": ("hs", 0.92, {}),
    "hs from slice 2 on": ("hs", 0.7, {}),
    "hs without calibration": ("hs", 0.7, {"calibration": False}),
    "ohs from slice 2 on": ("ohs", 0.7, {}),
    "ohs on two slices": ("ohs", 0.0, {"ohs": OhsConfig(slices=2, epochs=2)}),
    "ohs by replay": ("ohs", 0.0, {"ohs": REPLAY}),
    "ohs by replay from slice 1 on": ("ohs", 0.92, {"ohs": REPLAY}),
}


def a_layout(config: UnlearningConfig, *, has_batch_norm: bool, shards: int = SHARDS) -> Layout:
    return Layout(
        shards=shards,
        slice_samples=(EACH,) * SLICES,
        slice_prior=PRIOR,
        shape=RunShape(unlearning=config, epochs=EPOCHS, has_batch_norm=has_batch_norm),
        **SPEED,
    )


def every_outcome(
    config: UnlearningConfig, *, together: int, has_batch_norm: bool, shards: int, requests_in_all: int
) -> list[tuple[float, SimulationSummary]]:
    """Return the board's outcome for every sequence of requests, with its probability."""
    held = even_population(shards=shards, slices=SLICES, each=EACH)
    lineages = untrained_lineages(held.slice_samples.tolist(), **SPEED)
    outcomes = []
    for cells in product(range(shards * SLICES), repeat=requests_in_all):
        named = Counter[int]()
        requests = []
        for place, cell in enumerate(cells):
            requests.append((cell * EACH + named[cell], place // together * APART_S))
            named[cell] += 1
        outcome = simulate(
            singles(*requests),
            held,
            lineages,
            shape=RunShape(unlearning=config, epochs=EPOCHS, has_batch_norm=has_batch_norm),
            workers=2,
        ).summary
        outcomes.append((prod(PRIOR[cell % SLICES] / shards for cell in cells), outcome))
    return outcomes


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize(
    ("shards", "requests"),
    [
        pytest.param(SHARDS, 2, id="two shards"),
        pytest.param(1, 4, id="one shard"),
        pytest.param(SHARDS, 3, id="two shards, more requests", marks=pytest.mark.nightly),
        pytest.param(1, 5, id="one shard, more requests", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_expected_work_is_the_mean_over_every_trace(case: str, shards: int, requests: int, together: int) -> None:
    strategy, boundary, unlearning = CASES[case]
    settings = {"contributions": Contributions.GRADIENT, **unlearning}  # cheaper than retraining shards this small
    config = UnlearningConfig(strategy=Strategy(strategy), boundary=Boundary.parse(boundary), **settings)
    has_batch_norm = "slice 2" in case
    outcomes = every_outcome(
        config, together=together, has_batch_norm=has_batch_norm, shards=shards, requests_in_all=requests
    )
    work = expected_cost(
        a_layout(config, has_batch_norm=has_batch_norm, shards=shards),
        Strategy(strategy),
        Boundary.parse(boundary),
        requests=requests,
        together=together,
    )

    def mean(of: Any) -> Any:
        return pytest.approx(sum(chance * of(outcome) for chance, outcome in outcomes), rel=1e-9, abs=1e-9)

    assert work.passes == mean(lambda outcome: outcome.passes)
    assert work.seconds == mean(lambda outcome: outcome.compute_seconds)
    assert work.remedies == mean(lambda outcome: outcome.remedies)
    assert work.patched == mean(lambda outcome: outcome.approximate_share * outcome.remedies)
    assert work.patched_requests == mean(lambda outcome: outcome.patched_requests)
    assert work.debt_shards == mean(lambda outcome: outcome.debt_shards)
    assert work.debt_passes == mean(lambda outcome: outcome.debt_passes)


@pytest.mark.parametrize(
    ("strategy", "boundary", "kind", "count"),
    [
        pytest.param("sisa", 1.0, "late", 16, marks=pytest.mark.nightly),
        ("sisa", 1.0, "burst", 16),
        pytest.param("hs", 0.97, "late", 16, marks=pytest.mark.nightly),
        ("ohs", 0.5, "uniform", 12),
    ],
)
def test_expected_work_is_within_two_percent_of_two_hundred_simulated_traces(
    strategy: str, boundary: float, kind: str, count: int
) -> None:
    held = population(samples=8000, shards=8, slices=4)
    config = UnlearningConfig(
        strategy=Strategy(strategy), boundary=Boundary.parse(boundary), contributions=Contributions.GRADIENT
    )
    shape = RunShape(unlearning=config, epochs=epochs_per_stage(12, 4))
    traffic = Traffic(kind=kind, count=count, size=4, over_s=count * APART_S)
    lineages = untrained_lineages(held.slice_samples.tolist(), **SPEED)
    outcomes = [
        simulate(draw_trace(replace(traffic, seed=seed), held), held, lineages, shape=shape, workers=2).summary
        for seed in range(200)
    ]
    each = held.slice_samples.mean(axis=0)
    expected = expected_cost(
        Layout(
            shards=8,
            slice_samples=tuple(each.tolist()),
            slice_prior=tuple(slice_prior(traffic, each).tolist()),
            shape=shape,
            **SPEED,
        ),
        Strategy(strategy),
        Boundary.parse(boundary),
        requests=count,
        together=TRAFFIC[kind].together(traffic),
    )
    assert expected.passes == pytest.approx(fmean(outcome.passes for outcome in outcomes), rel=0.02)
    assert expected.seconds == pytest.approx(fmean(outcome.compute_seconds for outcome in outcomes), rel=0.02)
    assert expected.remedies == pytest.approx(fmean(outcome.remedies for outcome in outcomes), rel=0.02)


@pytest.mark.parametrize("together", [1, 6])
@pytest.mark.parametrize("shards", [SHARDS, 1])
def test_sampled_forecasts_agree_with_the_closed_form(shards: int, together: int) -> None:
    config = UnlearningConfig()
    boundary = Boundary.parse(0.92)
    run = a_layout(config, has_batch_norm=False, shards=shards)
    drawn = sampled_forecasts(run, boundary, together=together, workers=2, draws=1000)
    for strategy in Strategy:
        expected = expected_cost(run, strategy, boundary, requests=together, together=together)
        assert drawn[strategy].passes == pytest.approx(expected.passes, rel=0.05)
        assert drawn[strategy].seconds == pytest.approx(expected.seconds, rel=0.05)
        assert drawn[strategy].seconds / 2 <= drawn[strategy].makespan_seconds <= drawn[strategy].seconds
    alone = sampled_forecasts(run, boundary, together=1, workers=2)[Strategy.SISA]
    assert alone.makespan_seconds == alone.seconds


def test_a_deadline_of_a_group_is_sampled() -> None:
    config = UnlearningConfig(contributions=Contributions.GRADIENT)
    run = a_layout(config, has_batch_norm=False)
    deadline, seconds = Boundary.parse("deadline:1.5s"), Boundary.parse("1.5s")
    alone = expected_cost(run, Strategy.HS, deadline, requests=5)
    assert alone == expected_cost(run, Strategy.HS, seconds, requests=5)
    with pytest.raises(ValueError, match="no closed form"):
        expected_cost(run, Strategy.HS, deadline, requests=5, together=5)
    drawn = sampled_forecasts(run, deadline, together=5, workers=2)
    assert drawn[Strategy.DPUS].passes < drawn[Strategy.HS].passes < drawn[Strategy.SISA].passes


def test_a_layout_without_shards_is_refused() -> None:
    with pytest.raises(ValueError, match="a shard or more, not 0"):
        a_layout(UnlearningConfig(), has_batch_norm=False, shards=0)


def test_a_boundary_between_two_slices_retrains_from_the_later_one_on() -> None:
    run = a_layout(UnlearningConfig(contributions=Contributions.GRADIENT), has_batch_norm=False)
    for first in range(SLICES + 1):
        boundary = Boundary.parse(run.boundary_retraining_from(first))
        table = remedy_table(run, Strategy.HS, boundary, together=1)
        without_debt = [Remedy.PATCH if slice_index < first else Remedy.RETRAIN for slice_index in range(SLICES)]
        assert table[SLICES] == without_debt
    assert (run.boundary_retraining_from(0), run.boundary_retraining_from(SLICES)) == (1.0, 0.0)


@pytest.mark.parametrize("together", [1, 3])
def test_several_rules_and_counts_in_one_pass_cost_what_each_costs_alone(together: int) -> None:
    layout = a_layout(UnlearningConfig(), has_batch_norm=True)
    rules = [(strategy, Boundary.parse(0.7)) for strategy in Strategy]

    def cost(rule: tuple[Strategy, Boundary], requests: int, *, together: int) -> Any:
        return pytest.approx(astuple(expected_cost(layout, *rule, requests=requests, together=together)))

    costs = expected_costs(layout, rules, requests=7, together=together)
    assert [astuple(each) for each in costs] == [cost(rule, 7, together=together) for rule in rules]
    curve = expected_curve(layout, rules, counts=[1, 4, 7])
    for count, point in zip((1, 4, 7), curve, strict=True):
        assert [astuple(each) for each in point] == [cost(rule, count, together=1) for rule in rules]
