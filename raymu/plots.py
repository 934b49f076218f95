"""Figures of raymu's results, as matplotlib figures that need no display.

`plot_...` functions return a figure; `save_figure` writes one to a file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from raymu.core.tuning import Score
from raymu.output_file import atomic_write
from raymu.service.planning.capacity import CapacityPlan
from raymu.service.tuning.report import TuningReport

_MIN_TIME_S = 1e-3
"""Start of the logarithmic time axis."""
COLOURS = {
    "sisa": "#0072b2",
    "dpus": "#d55e00",
    "hs": "#009e73",
    "ohs": "#cc79a7",
    "ohs, replay": "#56b4e9",
    "from scratch": "#000000",
    "control": "#8c8c8c",
    "untouched": "#e69f00",
}
"""Colours that people who cannot tell red from green can tell apart (Okabe and Ito, 2008)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyTimeline:
    """Test accuracy after a request arrived, with one method. Accuracies are fractions."""

    method: str
    before: float
    rewound: float | None
    """Accuracy from rewinding until the repair; None if no constituent is left to vote."""
    rewound_at_s: float | None
    """Seconds from the arrival of the request."""
    repaired: float | None
    repaired_at_s: float | None
    """Seconds from the arrival of the request."""


def plot_accuracy(timelines: Mapping[str, Sequence[AccuracyTimeline]]) -> Figure:
    """Plot accuracy over time, one panel for each request.

    Args:
        timelines: The title of a panel, and the methods in it.
    """
    figure = Figure(figsize=(6.2 * len(timelines), 4.4), layout="constrained")
    panels = figure.subplots(1, len(timelines), sharey=True, squeeze=False)[0]
    for axes, (title, methods) in zip(panels, timelines.items(), strict=True):
        _draw_timelines(axes, title, methods)
    panels[0].set_ylabel("test accuracy, %")
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
        ("retrained oracle", report.oracle, {"color": COLOURS["from scratch"], "linewidth": 0.8}),
        (
            "other seed: the floor",
            report.other_seed,
            {"color": COLOURS["from scratch"], "linewidth": 1.0, "linestyle": "-."},
        ),
        (
            "untouched: nothing done",
            report.untouched,
            {"color": COLOURS["untouched"], "linewidth": 1.4, "linestyle": ":"},
        ),
        ("control: only fine-tuned", report.control, {"color": COLOURS["control"], "linewidth": 1.4, "linestyle": ":"}),
    )
    for label, baseline, line in baselines:
        accuracy.axhline(baseline.lost_points, label=label, **line)
        forgetting.axhline(baseline.forgetting_error, label=label, **line)
    accuracy.set_ylabel("test accuracy below the retrained oracle, points")
    forgetting.set_ylabel("forgetting error, multiple of the floor")
    for axes, limit in (
        (accuracy, report.constraints.most_lost_points),
        (forgetting, report.constraints.most_forgetting_error),
    ):
        if limit is not None:
            axes.axhline(limit, color="#444444", linestyle="--", linewidth=0.9, label="limit")
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
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 5), frameon=False)


def _draw_timelines(axes: Axes, title: str, timelines: Sequence[AccuracyTimeline]) -> None:
    end = 3.0 * max(timeline.repaired_at_s or 0.0 for timeline in timelines)
    for timeline in timelines:
        colour = COLOURS.get(timeline.method)
        times = [_MIN_TIME_S, timeline.rewound_at_s or _MIN_TIME_S, timeline.repaired_at_s or end, end]
        levels = [timeline.before, timeline.rewound, timeline.repaired, timeline.repaired]
        values = [float("nan") if level is None else 100.0 * level for level in levels]
        axes.step(times, values, where="post", label=timeline.method, color=colour, linewidth=1.8)
        axes.plot(times[2], values[2], "o", color=colour, markersize=5)
    gaps = [timeline for timeline in timelines if timeline.rewound is None]
    if gaps:
        start = min(timeline.rewound_at_s or _MIN_TIME_S for timeline in gaps)
        stop = min(timeline.repaired_at_s or end for timeline in gaps)
        axes.axvspan(start, stop, color="#000000", alpha=0.06, linewidth=0)
        axes.text(
            (start * stop) ** 0.5,
            0.03,
            "no constituent votes:\nno predictions",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
        )
    axes.set_xscale("log")
    axes.set_xlim(_MIN_TIME_S, end)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("seconds after the request")
    axes.grid(alpha=0.25)


def _draw_by_requests(axes: Axes, plan: CapacityPlan) -> None:
    """Draw a band for each strategy, from one batch to one by one, and a dot for the simulated traffic."""
    for strategy, points in plan.by_requests.items():
        colour, counts = COLOURS[strategy], [point.requests for point in points]
        together, apart = [point.together for point in points], [point.apart for point in points]
        axes.fill_between(counts, together, apart, color=colour, alpha=0.18, linewidth=0)
        axes.plot(counts, apart, color=colour, label=strategy, linewidth=1.8)
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
        colour, boundaries = COLOURS[strategy], [point.boundary for point in points]
        axes.plot(boundaries, [point.work.passes for point in points], "o-", color=colour, label=strategy, markersize=4)
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
        trials = [trial for trial in report.trials if trial.choice.strategy == strategy]
        shares = [trial.score.passes / report.retrain_passes for trial in trials]
        axes.plot(
            shares, [measure(trial.score) for trial in trials], "o", color=COLOURS[strategy], label=strategy, alpha=0.8
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
