"""The page's sections on forecasts and on accuracy."""

from dataclasses import replace
from datetime import timedelta

from raymu.config.unlearning import Strategy
from raymu.core.commands import RepairReport, RepairShard
from raymu.core.events import Event, GenerationEvaluated, GenerationPublished, ShardRepaired
from raymu.core.records import Remedy
from raymu.report.accuracy import Accuracy, accuracy_of
from raymu.report.forecasts import forecasts_of
from raymu.report.load import Measurement
from raymu.service.prediction import Evaluation
from tests.unit.core.examples import NOW, accepted, report_of, request, trained_board


def remedies(strategy: Strategy = Strategy.SISA) -> list[RepairReport]:
    """Return the remedies of two shards, each for two requests."""
    requests = [request(name, {0: {1: 1}, 1: {2: 1}}, strategy=strategy) for name in ("r1", "r2")]
    commands = trained_board().handle(accepted(*requests))
    return [report_of(command, {}, version="1") for command in commands if isinstance(command, RepairShard)]


def repaired(*reports: RepairReport) -> list[Event]:
    return [ShardRepaired(at=NOW, report=report) for report in reports]


def test_a_remedy_counts_once_for_all_its_requests_and_deliveries() -> None:
    first, second = remedies()
    slow = replace(second, seconds=3 * second.seconds, passes=2 * second.passes)
    [costs] = forecasts_of(repaired(first, slow, first)).costs
    assert (costs.remedy, costs.repairs, costs.replaced) == (Remedy.RETRAIN, 2, 0)
    assert costs.passes == first.passes + slow.passes
    assert costs.forecast_passes == first.planned.passes + second.planned.passes
    assert (costs.passes_ratio, costs.seconds_ratio) == (1.5, 2.0)


def test_a_retraining_that_replaced_a_patch_is_counted() -> None:
    first, second = remedies(Strategy.DPUS)
    failed = replace(second, remedy=Remedy.RETRAIN)
    patch, retrain = sorted(forecasts_of(repaired(first, failed)).costs, key=lambda cost: cost.remedy)
    assert (patch.remedy, patch.replaced) == (Remedy.PATCH, 0)
    assert (retrain.remedy, retrain.replaced) == (Remedy.RETRAIN, 1)


def test_every_remedy_is_in_both_plots() -> None:
    forecasts = forecasts_of(repaired(*remedies()))
    assert forecasts.passes is not None
    assert forecasts.seconds is not None
    assert [point.kind for point in forecasts.passes.points] == ["retrain"] * 2
    assert "passes forecast" in forecasts.passes.points[0].label
    assert forecasts_of([]).passes is None


def evaluated(number: int, accuracy: float) -> GenerationEvaluated:
    return GenerationEvaluated(at=NOW, number=number, samples=100, accuracy=accuracy)


def course(*evaluations: GenerationEvaluated, measured: Measurement | None = None) -> Accuracy:
    events = [
        GenerationPublished(at=NOW, number=1, manifest_sha256=""),
        GenerationPublished(at=NOW, number=2, manifest_sha256="", rewound=("r1", "r2")),
        GenerationPublished(at=NOW, number=3, manifest_sha256="", repaired=("r1", "r2"), settled=("r0",)),
        GenerationPublished(at=NOW, number=4, manifest_sha256=""),
    ]
    return accuracy_of(evaluations, events, measured, is_tracked=True, now=NOW + timedelta(days=1))


def test_a_generation_says_why_it_was_published() -> None:
    accuracy = course(evaluated(1, 0.9), evaluated(3, 0.8), evaluated(4, 0.85))
    assert [level.cause for level in accuracy.measurements] == [
        "trained",
        "repaired 2 requests, settled 1 request",
        "one shard repaired, settled or rebuilt",
    ]
    assert accuracy.chart is not None
    assert accuracy.latest == accuracy.measurements[-1]


def test_a_measurement_says_what_all_generations_since_the_last_one_brought() -> None:
    events = [
        GenerationPublished(at=NOW, number=1, manifest_sha256=""),
        *(
            GenerationPublished(at=NOW, number=2 + number, manifest_sha256="", settled=(f"r{number}",))
            for number in range(4)
        ),
    ]
    evaluation = Evaluation(generation=5, samples=50, accuracy=0.7, constituent_accuracy={0: 0.7})
    measured = Measurement(file="test.parquet", evaluation=evaluation)
    tracked = accuracy_of([evaluated(1, 0.9)], events, measured, is_tracked=True, now=NOW)
    assert tracked.measurements[-1].cause == "settled 4 requests"


def test_a_measurement_for_the_page_has_its_own_kind() -> None:
    evaluation = Evaluation(generation=2, samples=50, accuracy=0.7, constituent_accuracy={0: 0.7})
    accuracy = course(evaluated(1, 0.9), measured=Measurement(file="test.parquet", evaluation=evaluation))
    assert [(level.file, level.cause) for level in accuracy.measurements] == [
        (None, "trained"),
        ("test.parquet", "rewound 2 requests"),
    ]
    assert accuracy.chart is not None
    assert [point.kind for point in accuracy.chart.points] == ["tracked", "measured"]


def test_a_single_generation_makes_no_chart() -> None:
    evaluation = Evaluation(generation=1, samples=50, accuracy=0.7, constituent_accuracy={0: 0.7})
    accuracy = course(evaluated(1, 0.9), measured=Measurement(file="test.parquet", evaluation=evaluation))
    assert (len(accuracy.measurements), accuracy.chart) == (2, None)


def test_without_voters_there_is_nothing_to_measure() -> None:
    accuracy = course(measured=Measurement(file="test.parquet", evaluation=None))
    assert (accuracy.has_voters, accuracy.measurements, accuracy.chart) == (False, (), None)
    assert course().has_voters
