"""Figures for people, drawn without a display."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raymu.core.tuning import Score
from raymu.output_file import atomic_write
from raymu.service.planning.capacity import CapacityPlan
from raymu.service.tuning.report import TuningReport

_EARLIEST_S = 1e-3
"""Where the logarithmic time axis starts."""
COLOURS = {
    "sisa": "#0072b2",
    "dpus": "#d55e00",
    "hs": "#009e73",
    "ohs": "#cc79a7",
    "ohs, replay": "#56b4e9",
    "from scratch": "#000000",
    "control": "#8c8c8c",
}
"""Told apart without telling red from green (Okabe and Ito, 2008)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyTimeline:
    """Test accuracy after a request came in.

    rewound: what is served until the repair, None where no voter is left; times: seconds from the request's receipt
    """

    method: str
    before: float
    rewound: float | None
    rewound_at_s: float | None
    repaired: float | None
    repaired_at_s: float | None


def plot_accuracy(courses: Mapping[str, Sequence[AccuracyTimeline]], path: Path) -> None:
    """One panel per request: accuracy over time, method by method. The format is the path's suffix."""
    figure = Figure(figsize=(6.2 * len(courses), 4.4), layout="constrained")
    panels = figure.subplots(1, len(courses), sharey=True, squeeze=False)[0]
    for axes, (title, of_request) in zip(panels, courses.items(), strict=True):
        _draw_panel(axes, title, of_request)
    panels[0].set_ylabel("test accuracy, %")
    handles = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    _save(figure, path)


def _draw_panel(axes: Axes, title: str, courses: Sequence[AccuracyTimeline]) -> None:
    end = 3.0 * max(course.repaired_at_s or 0.0 for course in courses)
    for course in courses:
        colour = COLOURS.get(course.method)
        times = [_EARLIEST_S, course.rewound_at_s or _EARLIEST_S, course.repaired_at_s or end, end]
        levels = [course.before, course.rewound, course.repaired, course.repaired]
        values = [float("nan") if level is None else 100.0 * level for level in levels]
        axes.step(times, values, where="post", label=course.method, color=colour, linewidth=1.8)
        axes.plot(times[2], values[2], "o", color=colour, markersize=5)
    gaps = [course for course in courses if course.rewound is None]
    if gaps:
        start = min(course.rewound_at_s or _EARLIEST_S for course in gaps)
        stop = min(course.repaired_at_s or end for course in gaps)
        axes.axvspan(start, stop, color="#000000", alpha=0.06, linewidth=0)
        axes.text(
            (start * stop) ** 0.5,
            0.5,
            "no voters at first:\nno predictions",
            transform=axes.get_xaxis_transform(),
            ha="center",
        )
    axes.set_xscale("log")
    axes.set_xlim(_EARLIEST_S, end)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("seconds after the request")
    axes.grid(alpha=0.25)


def plot_capacity(outlook: CapacityPlan, path: Path) -> None:
    """Work by number of requests, and by hybrid boundary. The format is the path's suffix."""
    figure = Figure(figsize=(12.4, 4.6), layout="constrained")
    by_requests, by_boundary = figure.subplots(1, 2)
    _draw_by_requests(by_requests, outlook)
    _draw_by_boundary(by_boundary, outlook)
    figure.suptitle(
        f"{outlook.traffic} on {outlook.samples} samples, {outlook.shards} shards x {outlook.slices} slices",
        fontsize=11,
    )
    _save(figure, path)


def _draw_by_requests(axes: Axes, outlook: CapacityPlan) -> None:
    """A band per strategy, from one batch to one by one; a dot for what is replayed in simulated time."""
    for strategy, points in outlook.by_requests.items():
        colour, counts = COLOURS[strategy], [point.requests for point in points]
        together, apart = [point.together for point in points], [point.apart for point in points]
        axes.fill_between(counts, together, apart, color=colour, alpha=0.18, linewidth=0)
        axes.plot(counts, apart, color=colour, label=strategy, linewidth=1.8)
        axes.plot(counts, together, color=colour, linewidth=1.0, linestyle="--")
        axes.plot(counts[-1], outlook.replayed[strategy].passes, "o", color=colour, markersize=5)
    axes.set_yscale("log")
    axes.set_title(f"boundary {outlook.boundary}; solid: one by one, dashed: one batch, dot: this traffic", fontsize=10)
    axes.set_xlabel("samples named by requests")
    axes.set_ylabel("sample passes of all remedies, mean")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)


def _draw_by_boundary(axes: Axes, outlook: CapacityPlan) -> None:
    shares = axes.twinx()
    for strategy, points in outlook.by_boundary.items():
        colour, boundaries = COLOURS[strategy], [point.boundary for point in points]
        axes.plot(boundaries, [point.work.passes for point in points], "o-", color=colour, label=strategy, markersize=4)
        patched = [100.0 * point.work.patched / point.work.remedies for point in points]
        shares.plot(boundaries, patched, ":", color=colour, linewidth=1.4)
    chosen = outlook.within_layout.recommendation.boundary
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


def plot_pareto_front(report: TuningReport, path: Path) -> None:
    """Compute against accuracy, and against forgetting error: every trial, the Pareto front, the chosen one, the control."""
    figure = Figure(figsize=(12.4, 4.6), layout="constrained")
    accuracy, forgetting = figure.subplots(1, 2)
    _draw_trials(accuracy, report, lambda score: score.lost_points)
    _draw_trials(forgetting, report, lambda score: score.forgetting_error)
    for axes, label, control in (
        (accuracy, "test accuracy below the retrained oracle, points", report.control.lost_points),
        (forgetting, "forgetting error, nats", report.control.too_little + report.control.too_much),
    ):
        axes.axhline(control, color=COLOURS["control"], linestyle=":", linewidth=1.4, label="control: forgets nothing")
        axes.axhline(0.0, color=COLOURS["from scratch"], linewidth=0.8, label="retrained oracle")
        axes.set_ylabel(label)
    if report.constraints.most_lost_points is not None:
        accuracy.axhline(report.constraints.most_lost_points, color="#444444", linestyle="--", linewidth=0.9)
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(f"{report.traffic}: {report.requests} requests", fontsize=11)
    _save(figure, path)


def _draw_trials(axes: Axes, report: TuningReport, measure: Callable[[Score], float]) -> None:
    for strategy in dict.fromkeys(one.choice.strategy for one in report.trials):
        trials = [one for one in report.trials if one.choice.strategy == strategy]
        shares = [one.score.passes / report.retrain_passes for one in trials]
        axes.plot(
            shares, [measure(one.score) for one in trials], "o", color=COLOURS[strategy], label=strategy, alpha=0.8
        )
    front = sorted((one for one in report.trials if one.is_on_front), key=lambda one: one.score.passes)
    shares = [one.score.passes / report.retrain_passes for one in front]
    axes.plot(shares, [measure(one.score) for one in front], color="#888888", linewidth=1.0, zorder=0, label="front")
    share, value = report.chosen.score.passes / report.retrain_passes, measure(report.chosen.score)
    axes.plot(share, value, "o", markersize=13, markerfacecolor="none", color="#000000", label="chosen")
    axes.set_xscale("log")
    axes.set_xlabel("compute, share of retraining for every request")
    axes.grid(alpha=0.25)


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=150)
