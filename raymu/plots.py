"""Figures of raymu's results, as matplotlib figures that need no display.

`plot_...` functions return a figure; `save_figure` writes one to a file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from raymu.core.tuning import Score
from raymu.output_file import atomic_write
from raymu.service.planning.capacity import CapacityPlan
from raymu.service.tuning.report import TuningReport
from raymu.text import words


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The look of a word. Whoever cannot tell the colours apart has the marker and the line."""

    colour: str
    marker: str = "o"
    line: str | tuple[int, tuple[int, ...]] = "-"
    """A line style of matplotlib."""


FLOOR = "other seed"
"""An oracle with another seed: no remedy can be expected nearer."""
LOOKS: Mapping[str, Look] = {
    "sisa": Look(colour="#0072b2", marker="o", line="-"),
    "dpus": Look(colour="#d55e00", marker="v", line="--"),
    "hs": Look(colour="#009e73", marker="s", line="-."),
    "ohs": Look(colour="#882255", marker="D", line=(0, (5, 1))),
    "hs, boundary 0.85": Look(colour="#b8860b", marker="^"),
    "ohs, replay": Look(colour="#332288", marker="P"),
    "ohs, fine-tune": Look(colour="#56b4e9", marker="P"),
    "ohs, gradient": Look(colour="#d9c521", marker="^"),
    "dpus, gradient": Look(colour="#e69f00", marker="<"),
    "dpus, K-FAC": Look(colour="#cc79a7", marker="s"),
    "unsharded": Look(colour="#56b4e9", marker="*"),
    "from scratch": Look(colour="#000000", marker="*", line=":"),
    "exact": Look(colour="#000000", marker="*", line=":"),
    "oracle": Look(colour="#000000", marker="*", line=":"),
    FLOOR: Look(colour="#00654a", marker="|", line="-."),
    "another oracle": Look(colour="#00654a", marker="|", line="-."),
    "control": Look(colour="#8c8c8c", marker="x", line=":"),
    "untouched": Look(colour="#7f5f00", marker="|", line="--"),
    "curvature": Look(colour="#0072b2", marker="o"),
    "gradient": Look(colour="#d55e00", marker="s"),
    "group": Look(colour="#009e73", marker="D"),
    "batch": Look(colour="#cc79a7", marker="v"),
}
"""The look of each word in every figure. Most colours are those of Okabe and Ito (2008)."""
_LEVELS = (FLOOR, "untouched")
"""Models whose distance is compared, and whose compute is not."""
_LONG_LABEL = 25
"""Letters of a label beyond which a legend has fewer columns."""
LIMIT: dict[str, Any] = {"color": "#444444", "linestyle": (0, (1, 1)), "linewidth": 1.1}
"""The line of a constraint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodCost:
    """The cost of one method, and its distance from the retrained oracle."""

    method: str
    seconds: float
    """Compute of all requests together; not drawn for the untouched model and the oracle of another seed."""
    distance: float
    """Mean difference in the true label's probability on the forget set."""
    error: float
    """Standard error of this mean over the forgotten samples."""


def plot_costs(costs: Mapping[str, Sequence[MethodCost]]) -> Figure:
    """Plot compute against the distance from the retrained oracle, one panel for each scenario.

    The untouched model and the oracle of another seed are lines with bands of their standard error: only their distance
    counts.

    Args:
        costs: The title of a panel, and the methods in it.
    """
    figure = Figure(figsize=(5.2 * len(costs), 4.2), layout="constrained")
    panels = figure.subplots(1, len(costs), squeeze=False)[0]
    for axes, (title, methods) in zip(panels, costs.items(), strict=True):
        for cost in methods:
            look = LOOKS[cost.method]
            if cost.method in _LEVELS:
                axes.axhline(cost.distance, color=look.colour, linestyle=look.line, linewidth=1.4, label=cost.method)
                axes.axhspan(
                    cost.distance - cost.error, cost.distance + cost.error, color=look.colour, alpha=0.12, linewidth=0
                )
                continue
            axes.errorbar(
                cost.seconds,
                cost.distance,
                yerr=cost.error,
                color=look.colour,
                marker=look.marker,
                markersize=9,
                markerfacecolor="none",  # methods that end alike stay visible
                markeredgewidth=1.8,
                clip_on=False,
                linestyle="none",
                capsize=3,
                label=cost.method,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
        axes.set_ylim(bottom=0.0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("compute, s")
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("distance from retraining on the forget set")
    _add_legend(figure, panels)
    return figure


def plot_capacity(plan: CapacityPlan) -> Figure:
    """Plot the work of a capacity plan by the number of requests, and by the hybrid boundary."""
    figure = Figure(figsize=(12.4, 4.6), layout="constrained")
    by_requests, by_boundary = figure.subplots(1, 2)
    _draw_by_requests(by_requests, plan)
    _draw_by_boundary(by_boundary, plan)
    figure.suptitle(
        f"{plan.traffic} on {plan.samples} samples, {plan.shards} shards x {plan.slices} slices", fontsize=11
    )
    return figure


def plot_pareto_front(report: TuningReport) -> Figure:
    """Plot compute against accuracy and against forgetting error, with all trials, the front and the baselines."""
    figure = Figure(figsize=(12.4, 4.6), layout="constrained")
    accuracy, forgetting = figure.subplots(1, 2)
    _draw_trials(accuracy, report, lambda score: score.lost_points)
    _draw_trials(forgetting, report, lambda score: score.forgetting_error)
    baselines = (
        ("retrained oracle", "oracle", report.oracle),
        ("other seed: the floor", FLOOR, report.other_seed),
        ("untouched: nothing done", "untouched", report.untouched),
        ("control: only fine-tuned", "control", report.control),
    )
    for label, word, baseline in baselines:
        line = {"color": LOOKS[word].colour, "linestyle": LOOKS[word].line, "linewidth": 1.1}
        accuracy.axhline(baseline.lost_points, label=label, **line)
        forgetting.axhline(baseline.forgetting_error, label=label, **line)
    accuracy.set_ylabel("test accuracy below the retrained oracle, points")
    forgetting.set_ylabel("forgetting error, multiple of the floor")
    for axes, limit in (
        (accuracy, report.constraints.most_lost_points),
        (forgetting, report.constraints.most_forgetting_error),
    ):
        if limit is not None:
            axes.axhline(limit, label="limit", **LIMIT)
    _add_legend(figure, (accuracy, forgetting))
    figure.suptitle(f"{report.traffic}: {report.requests} requests", fontsize=11)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file in the format of its suffix. Raise OSError."""
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=150)


def _add_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """Add one legend for all panels below them."""
    lines = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = 5 if max(map(len, lines), default=0) < _LONG_LABEL else 4
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), columns), frameon=False
    )


def _draw_by_requests(axes: Axes, plan: CapacityPlan) -> None:
    """Draw a band for each strategy, from one batch to one by one, and a dot for the simulated traffic."""
    for strategy, points in plan.by_requests.items():
        colour, counts = LOOKS[strategy].colour, [point.requests for point in points]
        together, apart = [point.together for point in points], [point.apart for point in points]
        axes.fill_between(counts, together, apart, color=colour, alpha=0.18, linewidth=0)
        axes.plot(
            counts, apart, color=colour, label=strategy, linewidth=1.8, marker=LOOKS[strategy].marker, markevery=0.25
        )
        axes.plot(counts, together, color=colour, linewidth=1.0, linestyle="--")
        axes.plot(counts[-1], plan.replayed[strategy].passes, "o", color=colour, markersize=5)
    axes.set_yscale("log")
    axes.set_title(f"boundary {plan.boundary}; solid: one by one, dashed: one batch, dot: this traffic", fontsize=10)
    axes.set_xlabel("samples named by requests")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("sample passes of all remedies, mean")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)


def _draw_by_boundary(axes: Axes, plan: CapacityPlan) -> None:
    shares = axes.twinx()
    for strategy, points in plan.by_boundary.items():
        colour, boundaries = LOOKS[strategy].colour, [point.boundary for point in points]
        axes.plot(
            boundaries,
            [point.work.passes for point in points],
            color=colour,
            label=strategy,
            marker=LOOKS[strategy].marker,
            markersize=4,
        )
        patched = [100.0 * point.work.patched / point.work.remedies for point in points]
        shares.plot(boundaries, patched, ":", color=colour, linewidth=1.4)
    chosen = plan.within_layout.recommendation.boundary
    axes.axvline(chosen, color="#444444", linewidth=1.0, linestyle="--")
    axes.annotate(
        "recommended", (chosen, 0.02), xycoords=("data", "axes fraction"), rotation=90, ha="right", fontsize=8
    )
    axes.set_yscale("log")
    axes.set_title("by hybrid boundary; dotted: share of approximate states", fontsize=10)
    axes.set_xlabel("hybrid boundary, fraction of the shard")
    axes.set_ylabel("sample passes of all remedies, mean")
    shares.set_ylabel("approximate, % of the states that remedies leave")
    axes.legend(frameon=False, loc="center left")
    axes.grid(alpha=0.25)


def _draw_trials(axes: Axes, report: TuningReport, measure: Callable[[Score], float]) -> None:
    for strategy in dict.fromkeys(trial.choice.strategy for trial in report.trials):
        for is_feasible in (True, False):
            trials = [
                trial
                for trial in report.trials
                if trial.choice.strategy == strategy and bool(trial.violations) != is_feasible
            ]
            broken = sorted({limit for trial in trials for limit in trial.violations})
            axes.plot(
                [trial.score.passes / report.retrain_passes for trial in trials],
                [measure(trial.score) for trial in trials],
                LOOKS[strategy].marker,
                color=LOOKS[strategy].colour,
                markerfacecolor=LOOKS[strategy].colour if is_feasible else "none",
                label=strategy
                if is_feasible
                else f"{strategy}, beyond the limit of {words(', '.join(broken))}"
                if broken
                else None,
                alpha=0.8,
            )
    front = sorted((trial for trial in report.trials if trial.is_on_front), key=lambda trial: trial.score.passes)
    shares = [trial.score.passes / report.retrain_passes for trial in front]
    axes.plot(
        shares, [measure(trial.score) for trial in front], color="#888888", linewidth=1.0, zorder=0, label="front"
    )
    share, value = report.chosen.score.passes / report.retrain_passes, measure(report.chosen.score)
    axes.plot(share, value, "o", markersize=13, markerfacecolor="none", color="#000000", label="chosen")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
    axes.set_xlabel("compute, share of retraining for every request")
    axes.grid(alpha=0.25)
