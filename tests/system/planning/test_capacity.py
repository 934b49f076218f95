"""Plans for traffic before training, and a simulated run compared with a real one."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymu.config import Config, PartitionConfig
from raymu.config.unlearning import Strategy
from raymu.console.planning_tables import show_capacity
from raymu.console.screen import Screen
from raymu.core.partition import identity_hashes, place_uniform
from raymu.core.planning.simulator import SimulationSummary, simulate
from raymu.core.planning.trace import RevocableSamples, Trace
from raymu.core.planning.traffic import draw_trace, parse_traffic
from raymu.core.run_shape import RunShape
from raymu.data.tables import read_table
from raymu.errors import ConfigInvalid, TraceInvalid
from raymu.plots import plot_capacity, save_figure
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.planning.capacity import LayoutAdvice, plan_capacity
from raymu.service.planning.population import current_population, planned_population
from raymu.service.planning.profile import Profile, profile
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.service.status import status
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from tests.support.examples import make_config, revoke, train_run, write_samples


def imagined_population(samples: int, partition: PartitionConfig) -> RevocableSamples:
    """Return samples without owners, all of one class, that are partitioned uniformly."""
    ids = np.arange(samples)
    hashes = identity_hashes(ids.tolist(), seed=partition.seed, purpose="place")
    shards, slices = place_uniform(hashes, shards=partition.shards, slices=partition.slices)
    return RevocableSamples(
        ids=ids,
        shards=shards,
        slices=slices,
        labels=np.zeros(samples, dtype=np.int64),
        shard_count=partition.shards,
        slice_count=partition.slices,
    )


def imagined_profile(samples: int, *, seconds_per_pass: float) -> Profile:
    """Return a profile without data, for models without batch norm."""
    return Profile(population_of=partial(imagined_population, samples), seconds_per_pass=seconds_per_pass)


def a_config(tmp_path: Path, **branches: Any) -> Config:
    """Return a configuration whose patches are cheap: the curvature of so small a shard costs more than to retrain it."""
    write_samples(tmp_path / "all.parquet")
    unlearning = {"contributions": "gradient", **branches.pop("unlearning", {})}
    return make_config(tmp_path / "all.parquet", **{"data": {"owner": "owner"}, **branches}, unlearning=unlearning)


def simulated(location: Path, trace: Trace, *, window_s: float) -> SimulationSummary:
    store = RunStore(str(location))
    lineages = store.current().lineages
    return simulate(
        trace,
        current_population(store, lineages),
        [replace(lineage, seconds_per_pass=1e-9) for lineage in lineages],  # done before the next request comes
        shape=RunShape(unlearning=store.config.unlearning, epochs=(2, 2, 2)),
        workers=1,
        window_s=window_s,
    ).summary


def revoke_really(coordinator: Coordinator, trace: Trace, *, window_s: float) -> dict[int, float]:
    """Revoke batch by batch. Returns the sample passes by shard."""
    passes: dict[str, tuple[int, float]] = {}
    for batch in trace.batches(window_s):
        revocations = [
            Revocation(ids=request.ids, owner=request.owner) for request in (trace.requests[at] for at in batch.indices)
        ]
        for receipt in asyncio.run(coordinator.revoke(revocations, no_progress)):
            passes.update({part.command_id: (part.shard, part.passes) for part in receipt.shards})
    return {shard: sum(of for part_shard, of in passes.values() if part_shard == shard) for shard, _ in passes.values()}


@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize(
    ("strategy", "boundary", "traffic", "window_s"),
    [("sisa", 1.0, "uniform:6", 0.0), ("sisa", 1.0, "owner:3", 2000.0), ("dpus", 0.0, "late:8", 0.0)],
)
def test_a_simulated_run_takes_as_many_passes_as_a_real_one(
    tmp_path: Path, strategy: str, boundary: float, traffic: str, window_s: float, text_ids: bool
) -> None:
    config = a_config(tmp_path, unlearning={"strategy": strategy, "boundary": boundary, "calibration": False})
    write_samples(tmp_path / "all.parquet", text_ids=text_ids)
    run = train_run(config, tmp_path / "run")
    trace = draw_trace(
        parse_traffic(traffic), planned_population(read_table(config.data.train, config.data), config.partition)
    )
    simulated_run = simulated(tmp_path / "run", trace, window_s=window_s)
    passes = revoke_really(run, trace, window_s=window_s)
    assert {shard: of for shard, of in enumerate(simulated_run.shard_passes) if of} == pytest.approx(passes)
    debt = status(RunStore(str(tmp_path / "run"))).debt
    assert (simulated_run.debt_shards, simulated_run.debt_passes) == (debt.shards, debt.retrain_passes)


@pytest.mark.parametrize("text_ids", [False, True])
def test_a_population_is_the_same_before_training_and_after(tmp_path: Path, text_ids: bool) -> None:
    config = a_config(tmp_path)
    write_samples(tmp_path / "all.parquet", text_ids=text_ids)
    run = train_run(config, tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))
    planned = planned_population(read_table(config.data.train, config.data), config.partition)
    held = current_population(store, store.current().lineages)
    for kind in ("uniform", "owner", "class", "early"):
        traffic = parse_traffic(f"{kind}:10")
        assert draw_trace(traffic, held) == draw_trace(traffic, planned)
    [gone] = draw_trace(parse_traffic("uniform:1"), held).requests
    revoke(run, gone.ids)
    left = current_population(store, store.current().lineages)
    assert len(left) == len(held) - 1
    with pytest.raises(TraceInvalid, match="unknown sample"):
        left.rows_of(Trace(requests=(gone,)))


@pytest.mark.parametrize("traffic", ["uniform:8", "burst:8,size=4", "owner:5", "storm:8"])
@pytest.mark.parametrize("policy", ["uniform", "owner", "risk"])
def test_a_capacity_plan_has_the_cost_of_traffic_and_recommends_a_layout(
    tmp_path: Path, traffic: str, policy: str
) -> None:
    config = a_config(
        tmp_path,
        data={"owner": "owner", "risk": "risk"},
        partition={"policy": policy},
        unlearning={"boundary": 0.6, "contributions": "gradient", "ohs": {"remedy": "fine_tune"}},
    )
    slow = replace(profile(config), seconds_per_pass=0.01)  # so that patches save time, as in shards of real sizes
    view = plan_capacity(config, slow, parse_traffic(traffic), workers=2)
    for strategy in Strategy:
        points = view.by_requests[strategy]
        assert points[0].requests == 1
        assert points[0].apart == pytest.approx(points[0].together)
        assert all(point.together <= point.apart * 1.0001 for point in points)
    assert view.replayed[Strategy.DPUS].passes < view.replayed[Strategy.HS].passes
    assert view.replayed[Strategy.HS].passes <= view.replayed[Strategy.SISA].passes
    for points_by_boundary in view.by_boundary.values():
        shares = [point.work.approximate_share for point in points_by_boundary]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] == pytest.approx(1.0)
        assert shares[-1] == 0.0
    for advice in (view.within_layout, view.any_layout):
        recommendation = advice.recommendation
        assert recommendation.work.seconds <= view.budget_s * 1.000001
        assert (recommendation.boundary == 1.0) == (advice.replayed.approximate_share == 0.0)
    assert view.within_layout.recommendation.boundary < 1.0, "the default budget makes the boundary a choice"
    if policy == "uniform":  # the policy changes nothing about the figure
        save_figure(plot_capacity(view), tmp_path / "plan.png")
        assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert to_tree(view)["by_requests"]["sisa"][0]["requests"] == 1


@pytest.mark.parametrize("strategy", Strategy)
def test_the_curve_of_a_single_shard_ends_near_the_simulation(tmp_path: Path, strategy: Strategy) -> None:
    """A patch that reaches the first slice has no other shard as a reference, and becomes a retraining."""
    config = a_config(tmp_path, partition={"shards": 1, "slices": 3}, unlearning={"boundary": 0.7})
    view = plan_capacity(config, imagined_profile(600, seconds_per_pass=1e-6), parse_traffic("uniform:30"), workers=1)
    assert view.by_requests[strategy][-1].apart == pytest.approx(view.replayed[strategy].passes, rel=0.15)


def test_a_budget_and_a_deadline_limit_the_recommendation(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    known = imagined_profile(4000, seconds_per_pass=1e-3)
    freely = plan_capacity(config, known, parse_traffic("uniform:10"), workers=2, budget_s=1e6).any_layout
    for limits in ({"budget_s": 2.0}, {"longest_s": 0.5}):
        bound = plan_capacity(config, known, parse_traffic("uniform:10"), workers=2, **limits).any_layout
        assert bound.recommendation.is_within
        assert bound.replayed.compute_seconds < freely.replayed.compute_seconds
    never = plan_capacity(config, known, parse_traffic("uniform:10"), workers=2, budget_s=0.0)
    assert not never.within_layout.recommendation.is_within


def test_a_forgetting_error_limits_how_many_requests_a_recommendation_patches(tmp_path: Path) -> None:
    config, known = a_config(tmp_path), imagined_profile(4000, seconds_per_pass=1e-3)

    def advice(patch_error: float, most: float | None) -> LayoutAdvice:
        plan = plan_capacity(
            config,
            known,
            parse_traffic("uniform:10"),
            workers=2,
            budget_s=1.0,
            patch_error=patch_error,
            most_forgetting_error=most,
        )
        assert plan.patch_error == patch_error
        return plan.any_layout

    freely = advice(2.0, None)
    assert freely.recommendation.forgetting_error > 1.0, "so little compute is enough for patches only"
    assert freely.recommendation.is_within
    assert advice(0.5, 1.0).recommendation.is_within, (
        "patches that are good enough may be as many as the budget asks for"
    )
    assert not advice(2.0, 1.0).recommendation.is_within
    assert freely.recommendation.forgetting_error == pytest.approx(2.0 * freely.replayed.patched_requests, rel=0.1)


def test_without_a_budget_no_layout_is_recommended_that_costs_more_than_the_configured_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = imagined_profile(4000, seconds_per_pass=1e-3)
    config = a_config(tmp_path, partition={"shards": 8, "slices": 3})
    view = plan_capacity(config, known, parse_traffic("uniform:10"), workers=2)
    configured, recommended = view.within_layout.recommendation, view.any_layout.recommendation
    assert configured.boundary < 1.0, "half of what sisa takes makes the boundary a choice"
    assert configured.is_within
    assert recommended.work.seconds <= view.budget_s
    sisa_s = plan_capacity(config, known, parse_traffic("uniform:10"), workers=2, budget_s=1e6).within_layout
    assert view.budget_s == pytest.approx(sisa_s.recommendation.work.seconds / 2.0)
    lavish = plan_capacity(config, known, parse_traffic("uniform:10"), workers=2, budget_s=1e6)
    chosen = lavish.any_layout.recommendation
    assert (chosen.shards, chosen.slices) == (2, 1)
    assert chosen.work.passes > configured.work.passes
    said = []
    for capacity_plan in (view, lavish):
        show_capacity(Screen(), capacity_plan)
        said.append("half the compute that sisa takes with this layout" in capsys.readouterr().out)
    assert said == [True, False]


def test_a_deadline_can_be_the_configured_boundary(tmp_path: Path) -> None:
    config = a_config(tmp_path, unlearning={"boundary": "deadline:2s"})
    view = plan_capacity(
        config, imagined_profile(600, seconds_per_pass=1e-3), parse_traffic("burst:6,size=3"), workers=2
    )
    assert view.boundary == "deadline:2s"
    assert view.one_batch[Strategy.DPUS].passes < view.one_batch[Strategy.HS].passes


def test_what_cannot_be_forecast_is_refused(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    known = imagined_profile(40, seconds_per_pass=1e-3)
    with pytest.raises(TraceInvalid, match="names 41 samples, and there are 40"):
        plan_capacity(config, known, parse_traffic("uniform:41"), workers=1)
    with pytest.raises(TraceInvalid, match="needs owners"):
        plan_capacity(config, known, parse_traffic("owner:2"), workers=1)
    with pytest.raises(ConfigInvalid, match=r"not of the form 0\.35, 30s"):
        plan_capacity(a_config(tmp_path, unlearning={"boundary": "soon"}), known, parse_traffic("uniform:4"), workers=1)
    with pytest.raises(ConfigInvalid, match="too few for 3 slices"):
        plan_capacity(a_config(tmp_path, training={"epochs": 1}), known, parse_traffic("uniform:4"), workers=1)
    with pytest.raises(ConfigInvalid, match="too few"):
        profile(a_config(tmp_path, training={"epochs": 1}))


def test_a_profile_times_a_training_and_writes_nothing(tmp_path: Path) -> None:
    config = a_config(tmp_path, model={"name": "mlp", "hidden": [8], "batch_norm": True})
    profiled = profile(config)
    assert 0.0 < profiled.seconds_per_pass < 0.1
    assert profiled.has_batch_norm
    assert [path.name for path in tmp_path.iterdir()] == ["all.parquet"]
