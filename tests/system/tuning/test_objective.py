"""Trials: a trace replayed with real remedies on a branch, the run itself left as it was."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import raymu
from raymu.config.unlearning import Contributions, Strategy
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.core.tuning import Choice, Constraints, InterimScore, Score, TuningTrial
from raymu.errors import NoFeasibleTrial, RequestInvalid, RunInvalid, TraceInvalid
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.service.tuning.report import require_feasible, score_trials
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened
from tests.support.examples import make_config, repaired_weights, revoke, settle, train_run, write_samples
from tests.support.request_scenarios import files_of

CHOICE = Choice(
    strategy=Strategy.HS, boundary=1.0, contributions=Contributions.GRADIENT, fine_tune_slices=1, window_s=0.0
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ObjectiveSpec:
    folder = tmp_path_factory.mktemp("tuned")
    write_samples(folder / "all.parquet", samples=160)
    config = make_config(folder / "all.parquet", data={"owner": "owner"})
    asyncio.run(train_run(config, folder / "run").close())
    (folder / "scratch").mkdir()
    return ObjectiveSpec(
        location=str(folder / "run"),
        traffic="uniform:6",
        trace=None,
        test=str(folder / "all.parquet"),
        scratch=str(folder / "scratch"),
        workers=2,
    )


@pytest.fixture(scope="module")
def bench(plan: ObjectiveSpec) -> TuningObjective:
    return TuningObjective(plan)


def is_alike(one: Score, other: Score) -> bool:
    """But for the time that was really taken."""
    return replace(one, measured_seconds=0.0) == replace(other, measured_seconds=0.0)


def test_the_whole_boundary_is_sisa_and_equals_the_oracle(bench: TuningObjective) -> None:
    score = bench.evaluate(CHOICE)
    assert is_alike(score, bench.evaluate(replace(CHOICE, strategy=Strategy.SISA, boundary=0.0)))
    assert (score.lost_points, score.forgetting_error, score.debt_share) == (0.0, 0.0, 0.0)
    assert score.passes == bench.retrain_passes


@pytest.mark.parametrize("strategy", [Strategy.HS, Strategy.OHS])
def test_no_boundary_is_patching_alone_and_the_same_each_time(bench: TuningObjective, strategy: Strategy) -> None:
    choice = replace(CHOICE, strategy=strategy, boundary=0.0)
    score = bench.evaluate(choice)
    assert is_alike(score, TuningObjective(bench._spec).evaluate(choice))
    assert score.approximate_share == 1.0
    assert score.forgetting_error == score.too_little + score.too_much > 0.0
    if strategy == "hs":
        assert is_alike(score, bench.evaluate(replace(choice, strategy=Strategy.DPUS, boundary=1.0)))


def test_a_trial_comes_to_what_the_run_itself_would(bench: TuningObjective, tmp_path: Path) -> None:
    """A branch, revoked from by a real coordinator in the trace's order, has the same weights in the end."""
    choice = replace(CHOICE, strategy=Strategy.OHS, boundary=0.5)
    store = RunStore(bench._spec.location)
    branch = store.branch(str(tmp_path / "branch"), store.current().lineages, bench.unlearning(choice))
    with opened(Path(branch.location)) as run:
        asyncio.run(run.coordinator.adopt(store.current().lineages))
        receipts = [revoke_traced(run.coordinator, request.ids) for request in bench.trace.requests]
    assert len(receipts) == 6
    passes = sum(part.passes for receipt in receipts for part in receipt.shards)
    assert bench.evaluate(choice).passes == pytest.approx(passes)


def revoke_traced(coordinator: object, ids: tuple[SampleId, ...]) -> Receipt:
    return revoke(coordinator, ids)  # type: ignore[arg-type]


def test_trials_leave_the_run_as_it_was_and_no_branch_behind(bench: TuningObjective) -> None:
    before = files_of(Path(bench._spec.location))
    bench.evaluate(replace(CHOICE, strategy=Strategy.OHS, boundary=0.4, fine_tune_slices=2, window_s=900.0))
    assert files_of(Path(bench._spec.location)) == before
    scratch = Path(bench._spec.scratch)
    assert {path.suffix or path.name for path in scratch.iterdir()} == {".npz", "branches"}
    assert not list((scratch / "branches").iterdir())


def test_progress_is_told_before_the_end_and_may_end_the_trial(bench: TuningObjective) -> None:
    told: list[int] = []

    def tell(accepted: int, score: InterimScore) -> None:
        told.append(accepted)
        assert score.passes >= 0.0
        if accepted >= 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        bench.evaluate(CHOICE, tell)
    assert told == [2, 3]


def test_the_oracle_is_made_once_and_kept(
    plan: ObjectiveSpec, bench: TuningObjective, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = bench.oracle
    monkeypatch.setattr(TuningObjective, "_simulate", None)
    again = TuningObjective(plan).oracle
    assert (again.test_accuracy, again.forget_accuracy) == (kept.test_accuracy, kept.forget_accuracy)
    np.testing.assert_array_equal(again.test, kept.test)
    np.testing.assert_array_equal(again.forget, kept.forget)


def test_a_bench_is_another_once_the_run_is_but_not_for_what_was_chosen(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=160)
    train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    test = pq.read_table(tmp_path / "all.parquet")
    pq.write_table(test, tmp_path / "test.parquet")
    plan = ObjectiveSpec(
        location=str(tmp_path / "run"),
        traffic="uniform:6",
        trace=None,
        test=str(tmp_path / "test.parquet"),
        scratch=str(tmp_path),
        workers=2,
    )
    digests = [TuningObjective(plan).digest]

    def look() -> bool:
        """Whether it is one that there was not before."""
        digests.append(TuningObjective(plan).digest)
        return digests[-1] not in digests[:-1]

    raymu.open_run(tmp_path / "run").configure(strategy="ohs", boundary=0.75)
    assert not look()
    raymu.open_run(tmp_path / "run").configure(calibration=False)
    assert look()
    with raymu.open_run(tmp_path / "run") as run:
        run.revoke(test["id"].to_pylist()[:1], strategy="sisa")
    assert look()
    pq.write_table(test.slice(1), tmp_path / "test.parquet")
    assert look()


def test_the_control_forgets_nothing_and_no_trial_is_better_known(bench: TuningObjective) -> None:
    assert bench.control.distance(bench.oracle).under > 0.0


def test_trials_are_judged_on_a_run_with_an_emptied_shard_too(plan: ObjectiveSpec, tmp_path: Path) -> None:
    config = RunStore(plan.location).config
    asyncio.run(train_run(config, tmp_path / "run", exclude=ids_at(config, shard=0)).close())
    bench = TuningObjective(replace(plan, location=str(tmp_path / "run")))
    report = score_trials(
        bench, "uniform:6", [TuningTrial(choice=CHOICE, score=bench.evaluate(CHOICE))], Constraints(), 0
    )
    assert report.oracle.lost_points == 0.0
    assert report.control.too_little > 0.0


def test_what_nothing_holds_names_the_nearest(bench: TuningObjective) -> None:
    trials = [
        TuningTrial(choice=choice, score=bench.evaluate(choice)) for choice in (CHOICE, replace(CHOICE, boundary=0.0))
    ]
    bounds = Constraints(most_debt_share=0.0, most_p95_s=0.0)
    report = score_trials(bench, "uniform:6", trials, bounds, 0)
    assert report.chosen.choice.boundary == 1.0
    with pytest.raises(NoFeasibleTrial, match="the nearest is hs with boundary 1, with p95_s"):
        require_feasible(report)
    require_feasible(score_trials(bench, "uniform:6", trials, Constraints(most_debt_share=0.0), 0))


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (replace(CHOICE, contributions=Contributions.GROUP), "was trained for gradient"),
        (replace(CHOICE, fine_tune_slices=4), "this run has 3"),
    ],
)
def test_choices_that_the_run_does_not_allow_for_are_refused(
    bench: TuningObjective, choice: Choice, complaint: str
) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        bench.unlearning(choice)


def test_a_trace_or_traffic_is_needed_and_can_be_met(plan: ObjectiveSpec) -> None:
    with pytest.raises(RequestInvalid, match="give either --traffic"):
        replace(plan, traffic=None)
    with pytest.raises(TraceInvalid, match="lower the count"):
        TuningObjective(replace(plan, traffic="uniform:1000"))


def test_a_run_in_debt_is_refused(tmp_path: Path, plan: ObjectiveSpec) -> None:
    write_samples(tmp_path / "all.parquet", samples=160)
    run = train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    revoke(run, [1000], strategy="dpus")
    with pytest.raises(RunInvalid, match="run `raymu settle` first"):
        TuningObjective(replace(plan, location=str(tmp_path / "run")))
    settle(run)
    TuningObjective(replace(plan, location=str(tmp_path / "run")))
    assert repaired_weights(tmp_path / "run")
