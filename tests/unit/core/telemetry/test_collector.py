"""The metrics of a run, by its events and by its present state."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from raymu.config.unlearning import PublishConfig, Strategy
from raymu.core.events import GenerationEvaluated, SettleRequested, ShardFailed
from raymu.core.prediction_change import PredictionChange
from raymu.core.receipt import RequestStage
from raymu.core.records import Remedy
from raymu.core.requests import RevocationRequest
from raymu.core.telemetry.collector import MOST_SHARDS
from raymu.core.telemetry.metrics import METRICS, MetricKind
from raymu.core.telemetry.shard_totals import ShardTotals
from raymu.core.verdict import CheckName, LastVerdict, Verdict
from tests.unit.core.commands import repaired, repairs
from tests.unit.core.examples import NOW, accepted, request, trained_board
from tests.unit.core.metered_run import MeteredRun

DAY_S = 24 * 3600.0


def patched(request_id: str, shard: int, *, due_days: float = 30.0) -> RevocationRequest:
    patched_request = request(request_id, {shard: {3: 1}}, strategy=Strategy.DPUS)
    return replace(patched_request, due_at=NOW + timedelta(days=due_days))


def states(run: MeteredRun) -> dict[str, float]:
    gauges = run.gauges()
    return {state: gauges["requests", state] for state in RequestStage if gauges["requests", state]}


def duties(run: MeteredRun) -> dict[str, float]:
    return {name[1]: value for name, value in run.gauges().items() if name[0] == "shards" and value}


def test_a_patched_request_passes_its_stages_and_leaves_debt_until_it_is_settled() -> None:
    run = MeteredRun()
    assert (states(run), duties(run)) == ({}, {"exact": 3.0})
    run.handle(accepted(patched("r1", 0)))
    assert (states(run), duties(run)) == ({"rewound": 1.0}, {"at_work": 1.0, "exact": 2.0})
    run.repair(0, {3: 1}, after_s=2.0)
    assert (states(run), duties(run)) == ({"purged": 1.0}, {"approximate": 1.0, "exact": 2.0})
    gauges = run.gauges()
    assert gauges["debt_shards",] == 1.0
    assert gauges["debt_passes",] == 2 * 39, "the last stage again, two epochs of what is retained"
    assert gauges["samples",] == 119.0
    run.handle(SettleRequested(at=run.now, shards=(0,)))
    assert duties(run) == {"at_work": 1.0, "exact": 2.0}
    run.repair(0, {}, after_s=3.0)
    assert (states(run), duties(run)) == ({"settled": 1.0}, {"exact": 3.0})
    assert run.gauges()["debt_shards",] == run.gauges()["debt_passes",] == 0.0


def test_repairs_and_destroyed_samples_are_counted() -> None:
    run = MeteredRun()
    run.handle(accepted(request("r1", {0: {1: 2}, 1: {0: 1}}, strategy=Strategy.SISA), patched("r2", 2)))
    for shard, touched in ((0, {1: 2}), (1, {0: 1}), (2, {3: 1})):
        run.repair(shard, touched, after_s=1.0)
    assert {name[1]: value for name, value in run.sums.items() if name[0] == "repairs"} == {
        "retrain": 2.0,
        "patch": 1.0,
    }
    assert run.times["repair_seconds", "retrain"] == 2
    assert run.sums["destroyed_samples",] == 4.0
    assert run.sums["generations",] == 4.0, "trained or rewound, and one for each shard that is repaired"


def test_a_failed_repair_is_counted_and_its_shard_waits() -> None:
    run = MeteredRun()
    run.handle(accepted(patched("r1", 0)))
    run.handle(ShardFailed(at=run.now, shard=0, command_id=run.running[0].command_id))
    assert run.sums["repair_failures",] == 1.0
    assert duties(run) == {"waiting": 1.0, "exact": 2.0}


def test_the_time_of_a_request_to_each_stage_is_observed() -> None:
    run = MeteredRun()
    run.handle(accepted(patched("r1", 0), request("r2", {1: {2: 1}}, strategy=Strategy.SISA)))
    run.repair(0, {3: 1}, after_s=2.0)
    run.repair(1, {2: 1}, after_s=5.0)
    run.handle(SettleRequested(at=run.now, shards=(0,)))
    run.repair(0, {}, after_s=10.0)
    waits = {name[1]: value for name, value in run.sums.items() if name[0] == "request_seconds"}
    # What the patch superseded is purged with the other: a remedy at work aimed at it until then.
    assert waits == {"rewound": 0.0, "published": 2.0 + 7.0, "purged": 7.0 + 7.0, "settled": 7.0 + 17.0}
    assert {run.times["request_seconds", state] for state in waits} == {2}


def test_stages_add_passes_seconds_and_seconds_per_pass() -> None:
    run = MeteredRun()
    run.add(run.collector.on_work(None, passes=1000.0, seconds=0.5))
    run.add(run.collector.on_work(None, passes=3000.0, seconds=3.0))
    run.add(run.collector.on_work(Remedy.PATCH, passes=0.0, seconds=0.25))
    assert run.sums["passes", "train"] == 4000.0
    assert run.sums["compute_seconds", "train"] == 3.5
    assert run.sums["seconds_per_pass", "train"] == pytest.approx(0.0005 + 0.001)
    assert run.sums["compute_seconds", "patch"] == 0.25
    assert ("passes", "patch") not in run.sums, "Ray refuses to count nothing"


def test_without_owed_requests_there_is_no_due_time() -> None:
    gauges = MeteredRun().gauges()
    assert gauges["next_due_timestamp_seconds",] == gauges["settle_by_timestamp_seconds",] == 0.0
    assert ("deadline_slack_seconds",) not in gauges
    assert gauges["group_requests",] == gauges["group_due_timestamp_seconds",] == 0.0


def test_requests_that_wait_for_their_group_are_counted_until_it_is_visible() -> None:
    publish = PublishConfig(at_least=2, every=timedelta(hours=1))
    run = MeteredRun(publish=publish)
    for number, shard in enumerate((0, 1), start=1):
        run.handle(accepted(request(f"r{number}", {shard: {3: 1}})))
        run.repair(shard, {3: 1}, after_s=0.0)
        gauges = run.gauges()
        is_waiting = number < publish.at_least
        assert gauges["group_requests",] == float(is_waiting)
        assert gauges["group_due_timestamp_seconds",] == (NOW.timestamp() + 3600.0 if is_waiting else 0.0)


def test_slack_shrinks_as_time_passes() -> None:
    run = MeteredRun()
    run.handle(accepted(patched("r1", 0, due_days=1.0)))
    run.repair(0, {3: 1}, after_s=0.0)
    gauges = run.gauges()
    retraining_s = 2 * 39 * 0.01
    assert gauges["next_due_timestamp_seconds",] == NOW.timestamp() + DAY_S
    assert gauges["settle_by_timestamp_seconds",] == pytest.approx(NOW.timestamp() + DAY_S - retraining_s)
    assert gauges["deadline_slack_seconds",] == pytest.approx(DAY_S - retraining_s)
    later = run.gauges(after_s=2 * DAY_S)
    assert later["deadline_slack_seconds",] == pytest.approx(-DAY_S - retraining_s)
    assert later["settle_by_timestamp_seconds",] == gauges["settle_by_timestamp_seconds",]


def test_the_tightest_deadline_counts_not_the_next_one() -> None:
    """With one worker, the request that is due first delays the other, which then has less slack."""
    run = MeteredRun(workers=1)
    run.handle(
        accepted(patched("r1", 0, due_days=1.0), replace(patched("r2", 1), due_at=NOW + timedelta(days=1, seconds=0.1)))
    )
    for shard in (0, 1):
        run.repair(shard, {3: 1}, after_s=0.0)
    gauges = run.gauges()
    assert gauges["next_due_timestamp_seconds",] == NOW.timestamp() + DAY_S
    assert gauges["deadline_slack_seconds",] == pytest.approx(DAY_S + 0.1 - 2 * 2 * 39 * 0.01)


def test_the_number_of_workers_is_measured_and_moves_the_latest_start() -> None:
    run = MeteredRun(workers=1)
    run.handle(accepted(patched("r1", 0, due_days=1.0), patched("r2", 1, due_days=1.0)))
    for shard in (0, 1):
        run.repair(shard, {3: 1}, after_s=0.0)
    one_after_the_other = run.gauges()
    run.workers = 2
    side_by_side = run.gauges()
    assert (one_after_the_other["workers",], side_by_side["workers",]) == (1.0, 2.0)
    for name in ("settle_by_timestamp_seconds", "deadline_slack_seconds"):
        assert side_by_side[name,] - one_after_the_other[name,] == pytest.approx(2 * 39 * 0.01)


def test_single_shards_are_measured_in_small_runs_only() -> None:
    def of_shards(shards: int) -> int:
        return sum(name[0] == "shard_seconds_per_pass" for name in MeteredRun(shards).gauges())

    assert (of_shards(MOST_SHARDS), of_shards(MOST_SHARDS + 1)) == (MOST_SHARDS, 0)


def test_accuracy_is_exported_once_it_is_measured() -> None:
    run = MeteredRun()
    assert ("accuracy",) not in run.gauges()
    run.handle(GenerationEvaluated(at=run.now, number=1, samples=100, accuracy=0.875))
    assert run.gauges()["accuracy",] == 0.875


def test_changes_of_predictions_are_measured_by_the_states_that_they_compare() -> None:
    run = MeteredRun()
    run.handle(accepted(patched("r1", 0), request("r2", {1: {2: 1}}, strategy=Strategy.SISA)))
    run.repair(0, {3: 1}, after_s=1.0, change=PredictionChange(retained=0.25, unseen=0.5))
    run.repair(1, {2: 1}, after_s=1.0, change=PredictionChange(unseen=0.125))
    run.handle(SettleRequested(at=run.now, shards=(0,)))
    run.repair(0, {}, after_s=1.0, change=PredictionChange(unseen=0.75))
    assert {name[1:]: value for name, value in run.gauges().items() if name[0] == "prediction_change"} == {
        ("patched", "retained"): 0.25,
        ("patched", "unseen"): 0.5,
        ("untouched", "unseen"): 0.125,
        ("residual", "unseen"): 0.75,
    }


def last_verdict(check: CheckName, verdict: Verdict, *, generation: int | None = 3, at_s: float = 60.0) -> LastVerdict:
    at = datetime.fromtimestamp(at_s, UTC)
    return LastVerdict(run="r", check=check, verdict=verdict, generation=generation, at=at)


def test_the_last_verdict_of_each_check_is_shown_with_its_time_and_generation() -> None:
    run = MeteredRun()
    never = run.gauges()
    assert {name for name, value in never.items() if name[0] == "last_verdict" and value} == set()
    assert never["last_verdict_timestamp_seconds", "verify"] == never["last_verdict_generation", "verify"] == 0.0
    run.add(run.collector.on_verdict(last_verdict("verify", Verdict.FAIL)))
    run.add(run.collector.on_verdict(last_verdict("verify", Verdict.PASS, generation=4, at_s=90.0)))
    run.add(run.collector.on_verdict(last_verdict("audit", Verdict.FAIL, generation=None)))
    shown = run.gauges()
    held = {name for name, value in shown.items() if name[0] == "last_verdict" and value}
    assert held == {("last_verdict", "verify", "pass"), ("last_verdict", "audit", "fail")}
    assert shown["last_verdict_timestamp_seconds", "verify"] == 90.0
    assert (shown["last_verdict_generation", "verify"], shown["last_verdict_generation", "audit"]) == (4.0, 0.0)
    run.collector.show_verdicts([last_verdict("audit", Verdict.PASS)])
    assert run.gauges()["last_verdict_timestamp_seconds", "verify"] == 0.0, "its file is gone"
    assert run.sums["verdicts", "verify", "fail"] == 1.0
    assert ("verdicts", "audit", "pass") not in run.sums, "what is shown is not counted again"


def test_a_scenario_measures_every_metric() -> None:
    run = MeteredRun()
    run.handle(accepted(patched("r1", 0)))
    run.handle(GenerationEvaluated(at=run.now, number=1, samples=100, accuracy=0.875))
    run.handle(ShardFailed(at=run.now, shard=0, command_id=run.running[0].command_id))
    run.handle(accepted(patched("r2", 1)))
    run.repair(1, {3: 1}, after_s=1.0, change=PredictionChange(unseen=0.5))
    run.add(run.collector.on_work(None, passes=1000.0, seconds=0.5))
    run.add(run.collector.on_verdict(last_verdict("audit", Verdict.INCONCLUSIVE)))
    measured = {name[0] for name in (*run.sums, *run.gauges())}
    assert measured == {metric.name.removeprefix("raymu_") for metric in METRICS}
    gauges = {metric.name.removeprefix("raymu_") for metric in METRICS if metric.kind is MetricKind.GAUGE}
    assert {name[0] for name in run.gauges()} == gauges


def test_counters_begin_at_0_for_every_value_of_their_labels() -> None:
    zeros = {(zero.metric.name, *zero.labels.values()): zero.value for zero in MeteredRun().collector.zeros()}
    assert set(zeros.values()) == {0.0}
    counters = {metric.name for metric in METRICS if metric.kind is MetricKind.COUNTER}
    assert {name for name, *_ in zeros} == counters
    for remedy in Remedy:
        assert ("raymu_repairs", remedy) in zeros
        assert ("raymu_passes", remedy) in zeros
    for strategy in Strategy:
        assert ("raymu_accepted_requests", strategy) in zeros
    for verdict in Verdict:
        assert ("raymu_verdicts", "verify", verdict) in zeros
        assert ("raymu_verdicts", "audit", verdict) in zeros
    assert ("raymu_repair_failures",) in zeros


def test_no_event_adds_to_a_counter_that_did_not_begin_at_0() -> None:
    run = MeteredRun()
    zeros = {(zero.metric.name.removeprefix("raymu_"), *zero.labels.values()) for zero in run.collector.zeros()}
    run.handle(accepted(request("r1", {0: {1: 2}}, strategy=Strategy.SISA), patched("r2", 2)))
    run.repair(0, {1: 2}, after_s=1.0)
    run.add(run.collector.on_work(None, passes=10.0, seconds=1.0))
    run.add(run.collector.on_verdict(last_verdict("verify", Verdict.FAIL)))
    assert run.sums["accepted_requests", "sisa"] == run.sums["accepted_requests", "dpus"] == 1.0
    assert run.sums["verdicts", "verify", "fail"] == 1.0
    counters = {metric.name.removeprefix("raymu_") for metric in METRICS if metric.kind is MetricKind.COUNTER}
    assert {name for name in run.sums if name[0] in counters} <= zeros


def test_overdue_requests_and_all_missed_deadlines_are_shown() -> None:
    run = MeteredRun()
    run.handle(accepted(patched("r1", 0, due_days=1.0), patched("r2", 1, due_days=9.0)))
    run.repair(0, {3: 1}, after_s=1.0)
    run.repair(1, {3: 1}, after_s=1.0)
    assert (run.gauges()["overdue_requests",], run.gauges()["missed_requests",]) == (0.0, 0.0)
    run.now += timedelta(days=2)
    assert (run.gauges()["overdue_requests",], run.gauges()["missed_requests",]) == (1.0, 1.0)
    run.handle(SettleRequested(at=run.now, shards=(0, 1)))
    run.repair(0, {}, after_s=1.0)
    run.repair(1, {}, after_s=1.0)
    assert (run.gauges()["overdue_requests",], run.gauges()["missed_requests",]) == (0.0, 1.0), "it stays counted"


def test_a_run_has_a_name_beside_its_id() -> None:
    assert MeteredRun().gauges()["run", "letter"] == 1.0


def test_totals_follow_the_shards_that_changed() -> None:
    board, totals = trained_board(), ShardTotals()
    totals.update(board.lineages, board.epochs)
    assert totals.debt_shards == 0
    commands = repairs(board.handle(accepted(*(patched(f"r{shard}", shard) for shard in range(2)))))
    for ended, command in enumerate(commands, start=1):
        board.handle(repaired(command))
        totals.update(board.lineages, board.epochs)
        anew = ShardTotals()
        anew.update(board.lineages, board.epochs)
        assert +totals.exactness == +anew.exactness
        assert (totals.samples, totals.debt_shards, totals.debt_passes) == (
            anew.samples,
            anew.debt_shards,
            anew.debt_passes,
        )
        assert totals.debt_shards == ended
    assert sum(totals.exactness.values()) == len(board.lineages)
