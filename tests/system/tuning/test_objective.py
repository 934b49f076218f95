"""A choice is scored by replaying a trace with real repairs on a branch. The run itself is not changed."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import raymu
from raymu.config.unlearning import Contributions, Strategy
from raymu.console.planning_tables import show_tuning
from raymu.console.screen import Screen
from raymu.core.audit.signals import probabilities
from raymu.core.forgetting_error import ORACLES
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.core.tuning import Choice, Constraints, InterimScore, Score, TuningTrial
from raymu.errors import NoFeasibleTrial, RequestInvalid, RunInvalid, TraceInvalid
from raymu.plots import plot_pareto_front, save_figure
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.service.tuning.report import require_feasible, score_trials
from raymu.store.creation import branch_run
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened, restored, samples_of
from tests.support.examples import create_run, make_config, repaired_weights, revoke, write_samples
from tests.support.request_scenarios import files_of
from tests.support.trained_runs import TrainedRunFactory

CHOICE = Choice(
    strategy=Strategy.HS, boundary=1.0, contributions=Contributions.GRADIENT, fine_tune_slices=1, window_s=0.0
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ObjectiveSpec:
    folder = tmp_path_factory.mktemp("tuned")
    write_samples(folder / "all.parquet", samples=160)
    config = make_config(folder / "all.parquet", data={"owner": "owner"})
    create_run(config, folder / "run")
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
def objective(spec: ObjectiveSpec) -> TuningObjective:
    return TuningObjective(spec)


def is_alike(first: Score, second: Score) -> bool:
    """Compare scores except for the measured time."""
    return replace(first, measured_seconds=0.0) == replace(second, measured_seconds=0.0)


def test_the_whole_boundary_is_sisa_and_equals_the_oracle(objective: TuningObjective) -> None:
    score = objective.evaluate(CHOICE)
    assert is_alike(score, objective.evaluate(replace(CHOICE, strategy=Strategy.SISA, boundary=0.0)))
    assert (score.lost_points, score.forgetting_error, score.debt_share) == (0.0, 0.0, 0.0)
    assert score.passes == objective.retrain_passes


@pytest.mark.parametrize("strategy", [Strategy.HS, Strategy.OHS])
def test_no_boundary_is_patching_alone_and_the_same_each_time(objective: TuningObjective, strategy: Strategy) -> None:
    choice = replace(CHOICE, strategy=strategy, boundary=0.0)
    score = objective.evaluate(choice)
    assert is_alike(score, TuningObjective(objective._spec).evaluate(choice))
    assert score.approximate_share == 1.0
    assert score.forgetting_error > 0.0
    assert score.too_little + score.too_much > 0.0
    if strategy == "hs":
        assert is_alike(score, objective.evaluate(replace(choice, strategy=Strategy.DPUS, boundary=1.0)))


@pytest.mark.parametrize("boundary", [0.0, 1.0])
def test_a_trial_gives_the_passes_of_a_real_run(objective: TuningObjective, tmp_path: Path, boundary: float) -> None:
    """A real coordinator on a branch, which revokes in the order of the trace, takes as many passes.

    Between these boundaries it also learns from the seconds of its repairs whether a patch saves time.
    """
    choice = replace(CHOICE, strategy=Strategy.OHS, boundary=boundary)
    store = RunStore(objective._spec.location)
    branch = branch_run(store, str(tmp_path / "branch"), store.current().lineages, objective.unlearning(choice))
    with opened(Path(branch.location)) as run:
        asyncio.run(run.coordinator.adopt(store.current().lineages))
        receipts = [revoke_traced(run.coordinator, request.ids) for request in objective.trace.requests]
    assert len(receipts) == 6
    passes = sum(part.passes for receipt in receipts for part in receipt.shards)
    assert objective.evaluate(choice).passes == pytest.approx(passes)


def revoke_traced(coordinator: object, ids: tuple[SampleId, ...]) -> Receipt:
    return revoke(coordinator, ids)  # type: ignore[arg-type]


def test_trials_change_no_run_and_leave_no_branch(objective: TuningObjective) -> None:
    before = files_of(Path(objective._spec.location))
    objective.evaluate(replace(CHOICE, strategy=Strategy.OHS, boundary=0.4, fine_tune_slices=2, window_s=900.0))
    assert files_of(Path(objective._spec.location)) == before
    scratch = Path(objective._spec.scratch)
    assert {path.suffix or path.name for path in scratch.iterdir()} == {".npz", "branches"}
    assert not list((scratch / "branches").iterdir())


def test_progress_is_reported_before_the_end_and_may_stop_the_trial(objective: TuningObjective) -> None:
    accepted_counts: list[int] = []

    def report(accepted: int, score: InterimScore) -> None:
        accepted_counts.append(accepted)
        assert score.passes >= 0.0
        if accepted >= 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        objective.evaluate(CHOICE, report)
    assert accepted_counts == [2, 3]


def test_the_oracle_is_computed_once_and_kept(
    spec: ObjectiveSpec, objective: TuningObjective, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = objective.oracle
    monkeypatch.setattr(TuningObjective, "_retrain_oracles", None)
    kept = TuningObjective(spec).oracles
    again = kept.own_seed
    assert (again.test_accuracy, again.forget_accuracy) == (oracle.test_accuracy, oracle.forget_accuracy)
    np.testing.assert_array_equal(again.test, oracle.test)
    np.testing.assert_array_equal(again.forget, oracle.forget)
    np.testing.assert_array_equal(kept.confidences.other_seeds, objective.oracles.confidences.other_seeds)
    assert [each.test_accuracy for each in kept.other_seeds] == [
        each.test_accuracy for each in objective.oracles.other_seeds
    ]


def test_the_digest_changes_with_the_run_and_the_test_data_but_not_with_the_chosen_settings(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=160)
    create_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    test = pq.read_table(tmp_path / "all.parquet")
    pq.write_table(test, tmp_path / "test.parquet")
    spec = ObjectiveSpec(
        location=str(tmp_path / "run"),
        traffic="uniform:6",
        trace=None,
        test=str(tmp_path / "test.parquet"),
        scratch=str(tmp_path),
        workers=2,
    )
    digests = [TuningObjective(spec).digest]

    def has_new_digest() -> bool:
        """Whether the digest is a new one."""
        digests.append(TuningObjective(spec).digest)
        return digests[-1] not in digests[:-1]

    raymu.open_run(tmp_path / "run").configure(strategy="ohs", boundary=0.75, contributions="gradient")
    assert not has_new_digest()
    raymu.open_run(tmp_path / "run").configure(calibration=False)
    assert has_new_digest()
    with raymu.open_run(tmp_path / "run") as run:
        run.revoke(test["id"].to_pylist()[:1], strategy="sisa")
    assert has_new_digest()
    pq.write_table(test.slice(1), tmp_path / "test.parquet")
    assert has_new_digest()


def test_the_control_forgets_nothing(objective: TuningObjective) -> None:
    assert objective.control.predictions.distance(objective.oracle).under > 0.0


def test_the_forgetting_error_is_measured_on_the_shard_that_held_the_sample(objective: TuningObjective) -> None:
    """The run's own models score as the audit's confidences say; the order is that of the shards."""
    store, lineages = objective._store, objective._lineages
    expected = []
    for shard in sorted({*objective._population.shards[np.concatenate(objective._rows)].tolist()}):
        rows = [row for rows in objective._rows for row in rows.tolist() if objective._population.shards[row] == shard]
        samples = samples_of(store.config, objective._population.ids[rows].tolist())
        model = restored(store.location, lineages[shard].serving)
        place = np.argsort(samples.hashes)
        expected.append(model.probabilities(samples.features)[np.arange(len(rows)), samples.labels][place])
    confidences = objective._forgotten.confidences(objective._forgotten.states(store, lineages))
    np.testing.assert_allclose(probabilities(confidences), np.concatenate(expected), rtol=1e-5)


def test_the_baselines_are_the_oracle_the_floor_the_run_and_the_control(objective: TuningObjective) -> None:
    trials = [TuningTrial(choice=CHOICE, score=objective.evaluate(CHOICE))]
    report = score_trials(objective, "uniform:6", trials, Constraints(), 0)
    assert (report.oracle.forgetting_error, report.other_seed.forgetting_error) == (0.0, 1.0)
    assert report.untouched.forgetting_error > 0.0
    assert report.control.forgetting_error > 0.0
    assert len(objective.oracles.other_seeds) == ORACLES
    retrained = objective.oracles.confidences
    states = [objective._forgotten.retrain(number) for number in (1, 1, 2)]
    first, again, other = (objective._forgotten.confidences(state) for state in states)
    np.testing.assert_array_equal(first, retrained.other_seeds[0])
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_bound_of_the_forgetting_error_refuses_patches_that_remember(objective: TuningObjective) -> None:
    choices = [CHOICE, replace(CHOICE, boundary=0.0)]
    trials = [TuningTrial(choice=choice, score=objective.evaluate(choice)) for choice in choices]
    freely = score_trials(objective, "uniform:6", trials, Constraints(most_lost_points=None), 0)
    assert freely.chosen.choice.boundary == 0.0, "patching alone takes the least work"
    bound = trials[1].score.forgetting_error / 2
    bounded = score_trials(
        objective, "uniform:6", trials, Constraints(most_lost_points=None, most_forgetting_error=bound), 0
    )
    assert bounded.chosen.choice.boundary == 1.0
    assert bounded.trials[1].violations == {"forgetting_error": pytest.approx(1.0)}


def test_the_figure_and_the_tables_show_all_three(
    objective: TuningObjective, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = [CHOICE, replace(CHOICE, boundary=0.0, contributions=Contributions.CURVATURE)]
    trials = [TuningTrial(choice=choice, score=objective.evaluate(choice)) for choice in choices]
    report = score_trials(objective, "uniform:6", trials, Constraints(most_forgetting_error=1.5), 0)
    save_figure(plot_pareto_front(report), tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000
    show_tuning(Screen(), report, tmp_path)
    shown = " ".join(capsys.readouterr().out.split())
    error, klom = report.untouched.forgetting_error, report.untouched.klom_error
    assert "hs gradient 1.00" in shown
    assert "hs curvature 0.00" in shown
    assert f"untouched: nothing done {report.untouched.accuracy:.2%}" in shown
    assert f"{error:.2f} {klom:.2f}" in shown


def test_too_few_oracles_are_refused(spec: ObjectiveSpec) -> None:
    with pytest.raises(RequestInvalid, match="needs 3 or more"):
        replace(spec, oracles=2)


def test_trials_are_scored_on_a_run_with_an_empty_shard_too(spec: ObjectiveSpec, tmp_path: Path) -> None:
    config = RunStore(spec.location).config
    create_run(config, tmp_path / "run", exclude=ids_at(config, shard=0))
    objective = TuningObjective(replace(spec, location=str(tmp_path / "run")))
    report = score_trials(
        objective, "uniform:6", [TuningTrial(choice=CHOICE, score=objective.evaluate(CHOICE))], Constraints(), 0
    )
    assert report.oracle.lost_points == 0.0
    assert report.control.too_little > 0.0


def test_without_a_feasible_trial_the_nearest_is_named(objective: TuningObjective) -> None:
    trials = [
        TuningTrial(choice=choice, score=objective.evaluate(choice))
        for choice in (CHOICE, replace(CHOICE, boundary=0.0))
    ]
    bounds = Constraints(most_debt_share=0.0, most_p95_s=0.0)
    report = score_trials(objective, "uniform:6", trials, bounds, 0)
    assert report.chosen.choice.boundary == 1.0
    with pytest.raises(NoFeasibleTrial, match="the nearest is hs with boundary 1, with p95_s"):
        require_feasible(report)
    require_feasible(score_trials(objective, "uniform:6", trials, Constraints(most_debt_share=0.0), 0))


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (replace(CHOICE, contributions=Contributions.GROUP), "was trained for curvature"),
        (replace(CHOICE, fine_tune_slices=4), "this run has 3"),
    ],
)
def test_choices_that_the_run_does_not_allow_are_refused(
    objective: TuningObjective, choice: Choice, complaint: str
) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        objective.unlearning(choice)


def test_a_trace_or_traffic_is_needed_and_must_be_possible(spec: ObjectiveSpec) -> None:
    with pytest.raises(RequestInvalid, match="give either --traffic"):
        replace(spec, traffic=None)
    with pytest.raises(TraceInvalid, match="lower the count"):
        TuningObjective(replace(spec, traffic="uniform:1000"))


def test_a_run_in_debt_is_refused(trained_run: TrainedRunFactory, spec: ObjectiveSpec) -> None:
    run = trained_run(samples={"samples": 160})
    run.revoke([1000], strategy="dpus")
    with pytest.raises(RunInvalid, match="run `raymu settle` first"):
        TuningObjective(replace(spec, location=str(run.location)))
    run.settle()
    TuningObjective(replace(spec, location=str(run.location)))
    assert repaired_weights(run.location)
