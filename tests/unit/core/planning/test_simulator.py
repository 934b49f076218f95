from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config import OhsConfig, UnlearningConfig
from raymu.config.unlearning import Boundary, Strategy
from raymu.core.commands import Decision, RepairShard
from raymu.core.events import RevocationsAccepted
from raymu.core.planning.simulated_shard import simulated_report, untrained_lineages
from raymu.core.planning.simulator import SimulationSummary, simulate
from raymu.core.planning.trace import RevocableSamples, Trace
from raymu.core.planning.traffic import Traffic, draw_trace
from raymu.core.records import Remedy, ShardLineage
from raymu.core.remedies import PATCH_S
from raymu.core.run_shape import RunShape
from tests.unit.core.examples import EPOCHS, NOW, lineage, request, trained_board
from tests.unit.core.populations import even_population, population, singles
from tests.unit.core.traced_shards import TracedShards

SECONDS_PER_PASS = 0.01
HELD = population(samples=400, shards=4, slices=4, owners=60)
TRAINED = untrained_lineages(HELD.slice_samples.tolist(), seconds_per_pass=SECONDS_PER_PASS)

traces = st.builds(
    Traffic,
    kind=st.sampled_from(["uniform", "burst", "owner", "late", "storm"]),
    count=st.integers(1, 30),
    over_s=st.sampled_from([1.0, 30.0, 3000.0]),  # crowded, busy, calm
    seed=st.integers(0, 20),
).map(lambda traffic: draw_trace(traffic, HELD))


def replayed(
    trace: Trace,
    strategy: str,
    boundary: float | str = 0.6,
    *,
    held: RevocableSamples = HELD,
    trained: tuple[ShardLineage, ...] = TRAINED,
    workers: int = 2,
    window_s: float = 0.0,
    **unlearning: Any,
) -> SimulationSummary:
    config = UnlearningConfig(strategy=Strategy(strategy), boundary=Boundary.parse(boundary), **unlearning)
    shape = RunShape(unlearning=config, epochs=EPOCHS)
    return simulate(trace, held, trained, shape=shape, workers=workers, window_s=window_s).summary


@given(
    trace=traces, strategy=st.sampled_from(Strategy), workers=st.integers(1, 5), window_s=st.sampled_from([0.0, 5.0])
)
def test_every_request_is_repaired_and_none_before_it_arrives(
    trace: Trace, strategy: Strategy, workers: int, window_s: float
) -> None:
    summary = replayed(trace, strategy, workers=workers, window_s=window_s)
    assert summary == replayed(trace, strategy, workers=workers, window_s=window_s)
    assert [request.arrived_s for request in summary.requests] == [request.at_s for request in trace.requests]
    for simulated in summary.requests:
        assert simulated.arrived_s <= simulated.accepted_s <= simulated.arrived_s + window_s
        assert simulated.accepted_s < simulated.repaired_s
    assert summary.passes == pytest.approx(sum(summary.shard_passes))
    fixed_s = (
        summary.approximate_share * summary.remedies * PATCH_S
    )  # the stages of these shards take only their passes
    assert summary.compute_seconds == pytest.approx(summary.passes * SECONDS_PER_PASS + fixed_s)
    assert summary.makespan_s >= summary.compute_seconds / workers - 1e-9
    assert 0 < summary.p50_s <= summary.p95_s <= summary.makespan_s
    assert summary.remedies <= sum(len(set(HELD.shards[rows].tolist())) for rows in HELD.rows_of(trace))


@given(trace=traces, ohs=st.sampled_from(["fine_tune", "replay"]))
def test_boundary_one_equals_sisa_and_boundary_zero_equals_dpus(trace: Trace, ohs: Any) -> None:
    sisa, dpus = replayed(trace, "sisa"), replayed(trace, "dpus")
    assert replayed(trace, "hs", 1.0) == replayed(trace, "ohs", 1.0, ohs=OhsConfig(remedy=ohs)) == sisa
    assert replayed(trace, "hs", 0.0) == dpus
    assert (sisa.approximate_share, sisa.debt_shards, sisa.debt_passes) == (0.0, 0, 0)
    assert dpus.approximate_share == 1.0
    assert dpus.debt_passes > 0


def test_a_request_waits_for_its_shard_and_shares_its_remedy_with_those_that_wait_too() -> None:
    """Shard 0 has 10 samples in each slice; retraining it from slice 3 on takes 2 epochs over 39, then over 37."""
    held = even_population(shards=2, slices=4, each=10)
    trained = untrained_lineages(held.slice_samples.tolist(), seconds_per_pass=SECONDS_PER_PASS)
    trace = singles((30, 0.0), (31, 0.1), (32, 0.2), (79, 0.3))
    summary = replayed(trace, "sisa", held=held, trained=trained)
    assert [request.repaired_s for request in summary.requests] == pytest.approx([0.78, 1.52, 1.52, 0.3 + 0.78])
    assert summary.shard_passes == (2 * 39 + 2 * 37, 2 * 39)
    assert summary.remedies == 3
    assert summary.makespan_s == pytest.approx(1.52)


def test_requests_within_a_window_are_repaired_together() -> None:
    held = even_population(shards=2, slices=4, each=10)
    trained = untrained_lineages(held.slice_samples.tolist(), seconds_per_pass=SECONDS_PER_PASS)
    trace = singles((30, 0.0), (31, 0.1), (32, 0.2), (79, 5.3))
    summary = replayed(trace, "sisa", held=held, trained=trained, window_s=0.5)
    assert [request.accepted_s for request in summary.requests] == pytest.approx([0.5, 0.5, 0.5, 5.8])
    assert [request.repaired_s for request in summary.requests] == pytest.approx([1.24, 1.24, 1.24, 6.58])
    assert summary.shard_passes == (2 * 37, 2 * 39)


def test_the_longest_remedy_starts_first_and_the_others_when_a_worker_is_idle() -> None:
    held = even_population(shards=3, slices=4, each=10)
    trained = untrained_lineages(held.slice_samples.tolist(), seconds_per_pass=SECONDS_PER_PASS)
    trace = singles((30, 0.0), (40, 0.0), (119, 0.0))  # the last slice of shards 0 and 2, the first of shard 1
    long, short = 0.01 * 2 * (9 + 19 + 29 + 39), 0.01 * 2 * 39
    one_worker = replayed(trace, "sisa", held=held, trained=trained, workers=1)
    two_workers = replayed(trace, "sisa", held=held, trained=trained, workers=2)
    assert [request.repaired_s for request in one_worker.requests] == pytest.approx(
        [long + short, long, long + 2 * short]
    )
    assert [request.repaired_s for request in two_workers.requests] == pytest.approx([short, long, 2 * short])
    assert one_worker.passes == two_workers.passes


def test_existing_debt_is_taken_into_account() -> None:
    """A shard that was patched from slice 1 on is retrained from there."""
    held = even_population(shards=2, slices=4, each=10)
    clean = untrained_lineages(held.slice_samples.tolist())
    indebted = (replace(lineage(0, tainted_from=1, debts=("earlier",)), seconds_per_pass=1.0), clean[1])
    summary = replayed(singles((35, 0.0)), "sisa", held=held, trained=indebted)
    assert summary.shard_passes == (2 * (20 + 30 + 39), 0.0)
    patched = replayed(singles((35, 0.0)), "dpus", held=held, trained=indebted)
    assert (patched.debt_shards, patched.debt_passes) == (1, 2 * (20 + 30 + 39))


@pytest.mark.parametrize("remedy", [Remedy.RETRAIN, Remedy.PATCH, Remedy.FINE_TUNE, Remedy.REPLAY])
@pytest.mark.parametrize("earliest", [0, 2])
def test_a_simulated_report_changes_the_lineage_as_a_repair_does(remedy: Remedy, earliest: int) -> None:
    """The shards of the board's laws know each file by the samples that it has seen."""
    shards = TracedShards(shards=2, slice_samples=5)
    forget = shards.choose({0: {earliest: 2, 3: 1}})
    shards.forget["r1"] = forget
    board = trained_board(shards=2)
    [command] = [
        command
        for command in board.handle(
            RevocationsAccepted(at=NOW, requests=(request("r1", {0: {earliest: 2, 3: 1}}),), generation=1)
        )
        if isinstance(command, RepairShard)
    ]
    command = replace(
        command,
        lineage=shards.trained(0),
        decision=Decision(remedy=remedy, reason="", passes=7.0, seconds=0.5),
        references=(),
    )
    gone = [sum(home[1] == position for home in forget) for position in range(4)]
    report = shards.execute(command, patch_fails=False)
    simulated = simulated_report(command, gone)
    for name in ("remedy", "passes", "seconds", "exactness", "request_ids", "command_id"):
        assert getattr(simulated, name) == getattr(report, name)
    for name in ("slice_samples", "tainted_from", "debts", "shard"):
        assert getattr(simulated.lineage, name) == getattr(report.lineage, name)
    kept = [ref in command.lineage.checkpoints for ref in report.lineage.checkpoints if ref]
    assert [ref in command.lineage.checkpoints for ref in simulated.lineage.checkpoints if ref] == kept
    assert simulated.lineage.table != command.lineage.table
    assert simulated.lineage.serving != command.lineage.serving


def test_a_patch_without_a_calibration_reference_is_simulated_as_a_retraining() -> None:
    held = even_population(shards=1, slices=4, each=10)
    trained = untrained_lineages(held.slice_samples.tolist())
    early, late = singles((0, 0.0)), singles((39, 0.0))
    assert replayed(early, "dpus", held=held, trained=trained).passes == 2 * (9 + 19 + 29 + 39)
    assert replayed(early, "dpus", held=held, trained=trained).approximate_share == 0.0
    assert replayed(early, "dpus", held=held, trained=trained, calibration=False).approximate_share == 1.0
    assert replayed(late, "dpus", held=held, trained=trained).approximate_share == 1.0
