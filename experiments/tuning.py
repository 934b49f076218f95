"""Is the boundary that a search chooses as good on fresh traffic as every other one?

Method: a search scores 16 choices of strategy (`hs`, `ohs`) and boundary on one trace of 30 uniform requests for one sample
each. A choice may lose at most 0.5 points of test accuracy against the retrained oracle, and leave at most a given share of
the shards in debt. Then every choice is scored on a fresh trace of the same traffic. The regret of the chosen one is how
much more work it takes there than the cheapest choice that satisfies the constraints there. The clock is simulated, in one
process; the scores are those of a search through Ray. The letter data, and 12,000 samples of Fashion-MNIST. Three seeds. It
takes fifteen minutes on two cores.

Conclusion: the choice of one trace costs as much as the best on another, or hardly more: to retrain always if few shards may
owe retraining in the end, and to patch with `hs` if all of them may.
"""

from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.plots import baseline, legend, look, panels
from experiments.setups import Setup, setup_columns, trained
from raymu.benchmark.compare import ComparisonSetup
from raymu.config.unlearning import Strategy
from raymu.core.tuning import Constraints, SearchSpace, TuningTrial
from raymu.plots import FLOOR
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.service.tuning.report import ScoredTrial, TuningReport, score_trials

TRIALS, REQUESTS, WORKERS = 16, 30, 2
SAMPLES = {"fashion-mnist": 12_000}
DEBTS = (0.25, 1.0)
"""Largest shares of shards that may owe retraining at the end."""


def measure(options: Options) -> list[Row]:
    return map_concurrently(measure_setup, options.setups(samples=SAMPLES), options)


def measure_setup(setup: Setup) -> list[Row]:
    with trained(setup) as comparison:
        objectives = {name: _objective(comparison, seed) for seed, name in enumerate(("searched", "fresh"))}
        contributions = (comparison.config.unlearning.contributions,)
        space = SearchSpace(strategies=(Strategy.HS, Strategy.OHS), contributions=contributions)
        choices = space.grid(4 if setup.is_smoke else TRIALS)
        trials = {
            name: [TuningTrial(choice=choice, score=objective.evaluate(choice)) for choice in choices]
            for name, objective in objectives.items()
        }
        rows: list[Row] = []
        for debt in DEBTS:
            constraints = Constraints(most_debt_share=debt)
            reports = {
                name: score_trials(objective, name, trials[name], constraints, 0)
                for name, objective in objectives.items()
            }
            columns = {**setup_columns(setup, comparison), "most_debt": debt}
            chosen = _chosen_columns(reports["searched"], reports["fresh"])
            rows += [
                {
                    **columns,
                    "trace": name,
                    **_trial_columns(trial, report),
                    **chosen,
                    "is_chosen": _is_chosen(trial, reports),
                }
                for name, report in reports.items()
                for trial in report.trials
            ]
        return rows


def _objective(comparison: ComparisonSetup, seed: int) -> TuningObjective:
    assert comparison.config.data.test is not None
    return TuningObjective(
        ObjectiveSpec(
            location=comparison.base,
            traffic=f"uniform:{REQUESTS},seed={seed}",
            trace=None,
            test=comparison.config.data.test,
            scratch=str(comparison.scratch),
            workers=WORKERS,
        )
    )


def _trial_columns(trial: ScoredTrial, report: TuningReport) -> Row:
    control = report.control
    return {
        **asdict(trial.choice),
        **asdict(trial.score),
        "work": trial.score.passes / report.retrain_passes,
        "is_feasible": not trial.violations,
        "oracle_accuracy": report.oracle.accuracy,
        "control_lost_points": control.lost_points,
        "control_error": control.forgetting_error,
        "untouched_error": report.untouched.forgetting_error,
    }


def _is_chosen(trial: ScoredTrial, reports: dict[str, TuningReport]) -> bool:
    return trial.choice == reports["searched"].chosen.choice


def _chosen_columns(searched: TuningReport, fresh: TuningReport) -> Row:
    """Return how much larger the loss of the chosen settings is on the fresh trace than the smallest loss there."""
    losses = {trial.choice: trial.loss for trial in fresh.trials}
    return {"regret": losses[searched.chosen.choice] - min(losses.values())}


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for name, chosen in rows.query("trace == 'fresh' and is_chosen").groupby("data", sort=False):
        regret = chosen["regret"]
        best = f"{(regret <= 1e-9).sum()} of {len(regret)}"
        cells.append(f"{name}: the best on fresh traffic in {best}, largest regret {regret.max():.3f}")
    return "; ".join(cells)


def draw(rows: pd.DataFrame) -> Figure:
    names = rows["data"].unique()
    figure, axes = panels(1, len(names), width=4.6, height=3.2)
    for panel, name in zip(axes, names, strict=True):
        fresh = rows.query("data == @name and trace == 'fresh' and most_debt == @DEBTS[0]")
        for strategy in ("hs", "ohs"):
            trials = fresh[fresh["strategy"] == strategy]
            for is_within in (True, False):  # the limit of debt, which decides
                drawn = trials[(trials["debt_share"] <= DEBTS[0]) == is_within]
                label = strategy if is_within else f"{strategy}, more than {DEBTS[0]:.0%} of the shards in debt"
                line = {"label": label, "ls": "none", "alpha": 0.8, **look(strategy)}
                if not is_within:
                    line["mfc"] = "none"
                panel.plot(drawn["work"], drawn["forgetting_error"], **line)
        chosen = fresh[fresh["is_chosen"]]
        panel.plot(chosen["work"], chosen["forgetting_error"], "o", ms=12, mfc="none", color="black", label="chosen")
        for column, label, word in (
            ("control_error", "control: only fine-tuned", "control"),
            ("untouched_error", "untouched: nothing done", "untouched"),
        ):
            if column in fresh:
                panel.axhline(fresh[column].iloc[0], lw=1.0, label=label, **baseline(word))
        has_floor = "untouched_error" in fresh  # else it was measured before errors were divided by the floor
        if has_floor:
            panel.axhline(1.0, lw=1.0, label="other seed: the floor", **baseline(FLOOR))
        panel.set(title=name, xscale="log", xlabel="work, share of retraining for every request")
        for formatted in (panel.xaxis.set_major_formatter, panel.xaxis.set_minor_formatter):
            formatted("{x:g}")
        panel.set_ylabel(f"forgetting error, {'x floor' if has_floor else 'nats'}")
    legend(figure, axes)
    return figure


EXPERIMENT = Experiment(name="tuning", doc=__doc__, results=("tuning.csv",), summary=summary, figures={"tuning": draw})

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("letter", "fashion-mnist"))
