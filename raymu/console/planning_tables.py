"""Capacity plans and searches for the hybrid boundary on the terminal."""

from pathlib import Path

from raymu.console.screen import Screen, make_table
from raymu.console.table import ResultTable
from raymu.service.planning.capacity import CapacityPlan
from raymu.service.tuning.report import ScoredTrial, TuningReport
from raymu.text import duration, durations, plural


def show_capacity(screen: Screen, plan: CapacityPlan) -> None:
    """Print what traffic costs with every strategy, and the recommended layouts."""
    headings = ("strategy", "passes", "compute", "95% repaired", "approximate", "error", "shards in debt")
    table = make_table(
        *headings,
        numbers=headings[1:],
        title=f"{plan.traffic}: {plural(plan.requests, 'request')}, {plan.shards} shards x {plan.slices} slices, "
        f"{plural(plan.workers, 'worker')}, boundary {plan.boundary}",
    )
    outcomes = plan.replayed.values()
    compute_s = durations([outcome.compute_seconds for outcome in outcomes])
    repaired_s = durations([outcome.p95_s for outcome in outcomes])
    for (strategy, outcome), compute, repaired in zip(plan.replayed.items(), compute_s, repaired_s, strict=True):
        table.add_row(
            strategy,
            f"{outcome.passes:,.0f}",
            compute,
            repaired,
            f"{outcome.approximate_share:.0%}",
            f"{outcome.patched_requests * plan.patch_error:.2f}",
            f"{outcome.debt_shards:.1f}",
        )
    screen.print(table)
    screen.print(f"budget: {duration(plan.budget_s)} of compute, {plan.budget_basis}")
    screen.print(_recommendations(plan))
    for layout, advice in (("this layout", plan.within_layout), ("any layout", plan.any_layout)):
        if not advice.recommendation.is_within:
            screen.print(f"with {layout}, nothing meets the bounds; this is the nearest")
    screen.print(
        "error: mean forgetting error of the requests, each when its repair is done: 0 if it is retrained, "
        f"{plan.patch_error:g} if it is patched (--patch-error). 1 is the distance of two retrainings with different seeds."
    )


def _recommendations(plan: CapacityPlan) -> ResultTable:
    """Make the table of the recommended layouts."""
    numbers = ("shards", "slices", "boundary", "passes", "compute", "error")
    table = make_table("recommended with", *numbers, numbers=numbers)
    advices = (("this layout", plan.within_layout.recommendation), ("any layout", plan.any_layout.recommendation))
    compute_s = durations([recommendation.work.seconds for _, recommendation in advices])
    for (layout, recommendation), compute in zip(advices, compute_s, strict=True):
        table.add_row(
            layout,
            str(recommendation.shards),
            str(recommendation.slices),
            f"{recommendation.boundary:.2f}",
            f"{recommendation.work.passes:,.0f}",
            compute,
            f"{recommendation.forgetting_error:.2f}",
        )
    return table


def show_tuning(screen: Screen, report: TuningReport, out: Path) -> None:
    """Print the trials of a search, the baselines, and where the results are."""
    screen.print(_trials(report))
    screen.print(
        "saved: how many times less work than retraining for every request. points lost: test accuracy below the "
        "retrained oracle. error: how far forgotten samples' probabilities are from the oracle's, as a multiple of the "
        "floor: 1 is as near as a retraining with another seed. KLoM: the same, from the spread of many oracles, so that "
        "an oracle itself is near 1. p95: time until 95% of the requests were repaired. front: no other trial is better in "
        "work, accuracy and error."
    )
    screen.print(_baselines(report))
    if report.stopped:
        screen.print(f"{plural(report.stopped, 'trial')} stopped early")
    screen.print(f"trials: {out / 'trials.parquet'}; figure: {out / 'front.png'}")


def _trials(report: TuningReport) -> ResultTable:
    """Make the table of the trials, with a column for each setting that differs between them."""
    has_slices = len({trial.choice.fine_tune_slices for trial in report.trials}) > 1
    has_windows = len({trial.choice.window_s for trial in report.trials}) > 1
    settings = ("boundary", *(["slices"] if has_slices else []), *(["window"] if has_windows else []))
    has_contributions = len({trial.choice.contributions for trial in report.trials}) > 1
    scores = ("passes", "saved", "points lost", "error", "KLoM", "debt", "p95")
    table = make_table(
        *("", "strategy", *(["contributions"] if has_contributions else []), *settings, *scores),
        numbers=(*settings, *scores),
        unbroken=("", "strategy"),
        optional=("passes", "KLoM", "p95"),
        title=f"{report.traffic}: {plural(report.requests, 'request')}",
    )
    repaired_s = durations([trial.score.p95_s for trial in report.trials])
    for trial, repaired in zip(report.trials, repaired_s, strict=True):
        choice, score = trial.choice, trial.score
        table.add_row(
            _mark(trial, is_chosen=trial == report.chosen),
            choice.strategy,
            *([choice.contributions] if has_contributions else []),
            f"{choice.boundary:.2f}",
            *([str(choice.fine_tune_slices)] if has_slices else []),
            *([duration(choice.window_s)] if has_windows else []),
            f"{score.passes:,.0f}",
            f"{report.retrain_passes / max(score.passes, 1.0):,.1f}x",
            f"{score.lost_points:+.2f}",
            f"{score.forgetting_error:.2f}",
            f"{score.klom_error:.2f}",
            f"{score.debt_share:.0%}",
            repaired,
        )
    return table


def _baselines(report: TuningReport) -> ResultTable:
    """Make the table of what trials are compared with."""
    scores = ("accuracy", "points lost", "error", "KLoM")
    table = make_table("compared with", *scores, numbers=scores, unbroken=("compared with",))
    for name, baseline in (
        ("retrained oracle", report.oracle),
        ("oracles of other seeds", report.other_seed),
        ("untouched: nothing done", report.untouched),
        ("control: only fine-tuned", report.control),
    ):
        table.add_row(
            name,
            f"{baseline.accuracy:.2%}",
            f"{baseline.lost_points:+.2f}",
            f"{baseline.forgetting_error:.2f}",
            f"{baseline.klom_error:.2f}",
        )
    return table


def _mark(trial: ScoredTrial, *, is_chosen: bool) -> str:
    if is_chosen:
        return "nearest" if trial.violations else "chosen"
    return "front" if trial.is_on_front else ""
