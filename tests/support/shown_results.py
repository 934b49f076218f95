"""Results with large and small figures, as commands show them."""

from datetime import UTC, datetime, timedelta

from raymu.benchmark.demo_result import DemoResult, DemoRow
from raymu.config.unlearning import Contributions, Strategy
from raymu.core.deadlines import Deadline
from raymu.core.planner import StrategyForecast
from raymu.core.planning.expected_cost import ExpectedCost
from raymu.core.planning.recommendation import Recommendation
from raymu.core.receipt import Receipt, ShardReceipt
from raymu.core.records import Exactness, Remedy, ShardState
from raymu.core.repair_speed import PredictionInterval
from raymu.core.residuals import residuals_of
from raymu.core.tuning import Choice, Constraints, Score
from raymu.service.coordinator.calls import SettleResult
from raymu.service.planning.capacity import CapacityPlan, LayoutAdvice, SimulatedTraffic
from raymu.service.planning.forecast import Forecast, ShardForecast
from raymu.service.status import Debt, RemedyForecastError, RequestCounts, RunStatus, ShardStatus
from raymu.service.tuning.report import Baseline, ScoredTrial, TuningReport

AT = datetime(2026, 12, 1, 23, 12, 19, tzinfo=UTC)


def a_status() -> RunStatus:
    requests = [f"20261201T231219-{number:012x}" for number in range(5)]
    return RunStatus(
        run_id="da290a17314f445ca7519722c0cb0467",
        name="letter",
        generation=11,
        published_at=AT,
        shards=tuple(
            ShardStatus(
                shard=shard,
                samples=1_944_990,
                state=ShardState.APPROXIMATE,
                tainted_from=3,
                weights_sha256=f"{shard:x}" * 64,
            )
            for shard in range(12)
        ),
        requests=RequestCounts(accepted=944_990, published=944_990, purged=944_990, settled=1, missed=2, overdue=1),
        debt=Debt(shards=12, retrain_passes=123_456_789_012),
        deadlines=tuple(
            Deadline(
                request_id=request_id,
                due_at=AT + timedelta(days=30),
                shards=tuple(range(12)),
                retrain_passes=1e9,
                exact_after_s=0.283,
                is_late=False,
            )
            for request_id in requests
        ),
        paces={
            remedy: RemedyForecastError(
                remedies=944_990, forecast_seconds=0.0375, seconds=16.3, within=3, low=0.01, high=100.0
            )
            for remedy in Remedy
        },
        residuals=residuals_of([]),
    )


def a_forecast(*, low_s: float = 3.7e-5, high_s: float = 0.053) -> Forecast:
    return Forecast(
        strategy=Strategy.HS,
        boundary="0.35",
        workers=12,
        shards=tuple(
            ShardForecast(
                shard=shard,
                samples=944_990,
                earliest_slice=3,
                remedy=Remedy.FINE_TUNE,
                reason="100% of the shard is over the boundary 0.35",
                retrain_fraction=1.0,
                retrain_passes=1e9,
                retrain_seconds=1.2345,
                patch_seconds=0.0172,
                interval=PredictionInterval(low_s=low_s, expected_s=0.01, high_s=high_s),
            )
            for shard in range(3)
        ),
        strategies={
            strategy: StrategyForecast(passes=2_207_825_944, seconds=40.7, makespan_seconds=40.7)
            for strategy in Strategy
        },
    )


def a_receipt() -> Receipt:
    return Receipt(
        request_id="20261201T231219-3951540b4644",
        hashes=(),
        strategy="ohs",
        boundary="0.35",
        samples=944_990,
        received_at=AT,
        due_at=AT + timedelta(days=30),
        accepted_at=AT,
        generation_before=1,
        manifest_before="",
        rewound_at=AT + timedelta(milliseconds=22),
        repaired_at=AT + timedelta(seconds=1),
        published_at=AT + timedelta(seconds=2),
        purged_at=AT + timedelta(seconds=3),
        exactness=Exactness.APPROXIMATE,
        shards=tuple(
            ShardReceipt(
                shard=shard,
                samples=944_990,
                planned=Remedy.REPLAY,
                remedy=Remedy.REPLAY,
                reason="patch and replay would cost as much as retraining",
                exactness=Exactness.APPROXIMATE,
                determinism="",
                forecast_passes=1.0,
                forecast_seconds=1.0,
                passes=2_207_825.0,
                seconds=0.328,
                requests=12,
                command_id=f"repair-{shard}",
            )
            for shard in (1, 5, 6)
        ),
    )


def a_settlement() -> SettleResult:
    return SettleResult(
        generation=15,
        shards=(1, 2),
        request_ids=("r1", "r2"),
        passes=123_456_789.0,
        compute_seconds=4.04,
        missed=("20261201T231219-3951540b4644",),
    )


def a_plan() -> CapacityPlan:
    work = ExpectedCost(
        passes=2_207_825.0,
        seconds=17.3,
        remedies=50.0,
        patched=40.0,
        patched_requests=0.5,
        debt_shards=8.0,
        debt_passes=100.0,
    )
    traffic = SimulatedTraffic(
        passes=2_207_825_944.0,
        compute_seconds=40.7,
        makespan_s=1.0,
        p50_s=0.1,
        p95_s=0.333,
        approximate_share=1.0,
        patched_requests=1.0,
        debt_shards=8.0,
        debt_passes=1.0,
    )
    advice = LayoutAdvice(
        recommendation=Recommendation(
            shards=32, slices=20, boundary=0.87, work=work, makespan_s=1.0, forgetting_error=0.78, is_within=False
        ),
        replayed=traffic,
    )
    return CapacityPlan(
        traffic="uniform:50",
        requests=50,
        samples=16_000,
        shards=8,
        slices=5,
        workers=8,
        boundary="0.35",
        seconds_per_pass=1e-5,
        by_requests={},
        by_boundary={},
        one_batch={},
        replayed=dict.fromkeys(Strategy, traffic),
        budget_s=17.2,
        budget_basis="half the compute that sisa takes with this layout",
        patch_error=1.0,
        within_layout=advice,
        any_layout=advice,
    )


def a_tuning() -> TuningReport:
    def trial(strategy: Strategy, boundary: float, debt: float, contributions: Contributions) -> ScoredTrial:
        score = Score(
            passes=2_207_825.0 * (0.01 + boundary),
            lost_points=0.3 - 0.2 * boundary,
            debt_share=debt,
            compute_seconds=1.0,
            measured_seconds=1.0,
            makespan_s=1.0,
            p50_s=0.1,
            p95_s=0.333,
            accuracy=0.9,
            forgetting_error=1.4 - boundary,
            klom_error=1.3,
            too_little=0.1,
            too_much=0.1,
            approximate_share=1.0,
            weights_sha256="ab" * 32,
        )
        return ScoredTrial(
            choice=Choice(
                strategy=strategy, boundary=boundary, contributions=contributions, fine_tune_slices=1, window_s=0.0
            ),
            score=score,
            loss=1.0,
            violations={"debt_share": debt - 0.25} if debt > 0.25 else {},
            is_on_front=boundary in (0.0, 1.0),
        )

    trials = tuple(
        trial(strategy, boundary, 1.0 - boundary, contributions)
        for strategy in (Strategy.HS, Strategy.OHS)
        for contributions in (Contributions.GRADIENT, Contributions.CURVATURE)
        for boundary in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    baseline = Baseline(
        accuracy=0.9075, lost_points=0.1, forgetting_error=1.2, klom_error=1.1, too_little=0.1, too_much=0.1
    )
    return TuningReport(
        traffic="uniform:50",
        requests=50,
        retrain_passes=2_207_825.0,
        constraints=Constraints(most_debt_share=0.25, most_forgetting_error=1.0),
        trials=trials,
        stopped=2,
        oracle=baseline,
        other_seed=baseline,
        untouched=baseline,
        control=baseline,
        chosen=trials[3],
    )


def a_demo() -> DemoResult:
    return DemoResult(
        trained_accuracy=0.9234,
        shards=8,
        slices=5,
        train_seconds=12.3,
        figure="raymu-demo/cost-and-distance.png",
        config="raymu-demo/letter.yaml",
        rows=tuple(
            DemoRow(
                scenario=scenario,
                method=method,
                passes=3_207_825.0,
                seconds=123.45,
                speedup_over_sisa=1234.0,
                speedup_over_scratch=12_345.0,
                test_accuracy=0.9234,
                forget_accuracy=0.95,
                forget_loss=0.123,
                forget_distance=0.031,
                forget_distance_error=0.004,
                exactness="approximate",
                forgotten_s=0.022,
                repaired_s=0.23,
            )
            for scenario in ("20 requests of one sample", "160 samples (1%) at once")
            for method in ("sisa", "dpus", "hs", "ohs", "from scratch", "other seed", "untouched", "control")
        ),
    )
