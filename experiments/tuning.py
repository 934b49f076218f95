"""Is the boundary that a search finds as good on fresh traffic as every fixed one?

Method: a run is searched on one trace of 30 uniform single requests (16 trials, hs and ohs, at most 0.5 points of test
accuracy below the retrained oracle and at most a share of the shards in debt); then every trial's choice is tried on
a fresh trace of the same traffic. The chosen one's regret is how much more work it takes there than the cheapest choice
that holds the constraints there. In simulated time, in one process; the same trials as through Ray. The letter data, and
12,000 samples of Fashion-MNIST; three seeds; fifteen minutes on two cores.
"""

from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure
from plots import legend, look, panels
from rows import Row, Rows, distinct, where
from subjects import Subject, about, trained
from workbench import Options, experiment, map_concurrently

from raymu.config.unlearning import Contributions, Strategy
from raymu.core.tuning import Constraints, SearchSpace, TuningTrial
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.service.tuning.report import ScoredTrial, TuningReport, score_trials

TRIALS, REQUESTS, WORKERS = 16, 30, 2
SAMPLES = {"fashion-mnist": 12_000}
DEBTS = (0.25, 1.0)
"""Most share of shards that may owe retraining at the end."""


def measure(options: Options) -> Rows:
    return map_concurrently(tune, options.subjects(samples=SAMPLES), options)


def tune(subject: Subject) -> Rows:
    with trained(subject) as bench:
        searched, fresh = (_bench(bench.base, bench.config.data.test, bench.scratch, seed) for seed in (0, 1))
        space = SearchSpace(strategies=(Strategy.HS, Strategy.OHS), contributions=(Contributions.GRADIENT,))
        choices = space.grid(4 if subject.is_smoke else TRIALS)
        trials, again = (
            [TuningTrial(choice=one, score=on.evaluate(one)) for one in choices] for on in (searched, fresh)
        )
        told, rows = about(subject, bench), Rows()
        for debt in DEBTS:
            bounds = Constraints(most_debt_share=debt)
            found, held = (
                score_trials(searched, "searched", trials, bounds, 0),
                score_trials(fresh, "fresh", again, bounds, 0),
            )
            rows += [
                {**told, "most_debt": debt, "trace": report.traffic, **_row(one, report), **_standing(found, one, held)}
                for report in (found, held)
                for one in report.trials
            ]
        return rows


def _bench(base: str, test: str | None, scratch: Path, seed: int) -> TuningObjective:
    assert test is not None
    traffic = f"uniform:{REQUESTS},seed={seed}"
    plan = ObjectiveSpec(location=base, traffic=traffic, trace=None, test=test, scratch=str(scratch), workers=WORKERS)
    return TuningObjective(plan)


def _row(one: ScoredTrial, report: TuningReport) -> Row:
    control = report.control
    return {
        **asdict(one.choice),
        **asdict(one.score),
        "work": one.score.passes / report.retrain_passes,
        "is_feasible": not one.violations,
        "oracle_accuracy": report.oracle.accuracy,
        "control_lost_points": control.lost_points,
        "control_error": control.too_little + control.too_much,
    }


def _standing(found: TuningReport, one: ScoredTrial, held: TuningReport) -> Row:
    """Whether the search chose it, and the loss of what it chose on the fresh trace over the least there."""
    losses = {trial.choice: trial.loss for trial in held.trials}
    regret = losses[found.chosen.choice] - min(losses.values())
    return {"is_chosen": one.choice == found.chosen.choice, "regret": regret}


def draw(rows: Rows) -> Figure:
    names = distinct(rows, "data")
    figure, axes = panels(1, len(names), width=4.6, height=3.2)
    for one, name in zip(axes, names, strict=True):
        fresh = where(rows, data=name, trace="fresh", most_debt=DEBTS[0])
        for strategy in ("hs", "ohs"):
            points = where(fresh, strategy=strategy)
            works, errors = ([point[column] for point in points] for column in ("work", "forgetting_error"))
            one.plot(works, errors, "o", label=strategy, color=look(strategy)["color"], alpha=0.7)
        chosen = where(fresh, is_chosen="True")
        works, errors = ([point[column] for point in chosen] for column in ("work", "forgetting_error"))
        one.plot(works, errors, "o", ms=12, mfc="none", color="black", label="chosen")
        one.axhline(fresh[0]["control_error"], color="#8c8c8c", lw=1.0, ls=":", label="control: forgets nothing")
        one.set(title=name, xscale="log", xlabel="work, share of retraining for every request")
        one.set_ylabel("forgetting error, nats")
    legend(figure, axes)
    return figure


if __name__ == "__main__":
    experiment("tuning", __doc__, measure, {"tuning": draw}, data=("letter", "fashion-mnist"))
