"""Figures for people, drawn without a display."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
class AccuracyCourse:
    """Test accuracy after a request came in.

    rewound: what is served until the repair, None where no voter is left; times: seconds from the request's receipt
    """

    method: str
    before: float
    rewound: float | None
    rewound_at_s: float | None
    repaired: float | None
    repaired_at_s: float | None


def draw_courses(courses: Mapping[str, Sequence[AccuracyCourse]], path: Path) -> None:
    """One panel per request: accuracy over time, method by method. The format is the path's suffix."""
    figure = Figure(figsize=(6.2 * len(courses), 4.4), layout="constrained")
    panels = figure.subplots(1, len(courses), sharey=True, squeeze=False)[0]
    for axes, (title, of_request) in zip(panels, courses.items(), strict=True):
        _draw_panel(axes, title, of_request)
    panels[0].set_ylabel("test accuracy, %")
    handles = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=150)


def _draw_panel(axes: Axes, title: str, courses: Sequence[AccuracyCourse]) -> None:
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
            (start * stop) ** 0.5, 0.5, "no voters:\nno predictions", transform=axes.get_xaxis_transform(), ha="center"
        )
    axes.set_xscale("log")
    axes.set_xlim(_EARLIEST_S, end)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("seconds after the request")
    axes.grid(alpha=0.25)
