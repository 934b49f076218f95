"""What the results say, in a sentence for each question."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rows import Rows, column, distinct, mean, spread, where
from wording import less, percent, points, times

BULK, SINGLES = "1%", "20 singles"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """experiment: the script's name; result: what its rows say, with numbers; shows: without any"""

    experiment: str
    figures: tuple[str, ...]
    result: Callable[[Rows], str]
    shows: str

    @property
    def script(self) -> Path:
        return Path(__file__).parent / f"{self.experiment}.py"

    @property
    def question(self) -> str:
        """The first line of the script's docstring; it is not imported, since some need Ray."""
        docstring = ast.get_docstring(ast.parse(self.script.read_text(encoding="utf-8"))) or ""
        return docstring.partition("\n")[0]


def _strategies(rows: Rows) -> str:
    images = where(rows, data="fashion-mnist", model="mlp")
    share = 1.0 / less(images, BULK, "ohs", "from scratch", "seconds")
    lost = points(where(images, scenario=BULK, method="ohs"))
    return (
        f"Fashion-MNIST, 1% at once: ohs loses {lost} points at {share:.1%} of exact retraining's compute; table below"
    )


def _partitions(rows: Rows) -> str:
    letters = where(rows, data="letter", method="sisa", slices=5)
    shards = sorted(distinct(letters, "shards"))
    few, many = (where(letters, shards=one) for one in (shards[0], shards[-1]))
    work = mean(few, "passes") / mean(many, "passes")
    return (
        f"letter: with {shards[-1]} shards instead of {shards[0]}, {times(work)} less work for a request, and accuracy "
        f"{percent(many, 'test_accuracy')}% instead of {percent(few, 'test_accuracy')}%"
    )


def _boundary(rows: Rows) -> str:
    images = where(rows, data="fashion-mnist", method="hs")
    exact = mean(where(images, boundary=1.0), "passes")
    cells = [
        f"{boundary:g}: {times(exact / mean(where(images, boundary=boundary), 'passes'))}, "
        f"{100.0 * mean(where(images, boundary=boundary), 'accuracy_lost'):+.2f} points"
        for boundary in sorted(distinct(images, "boundary"))
        if 0.0 < boundary < 1.0
    ]
    return f"Fashion-MNIST, hs, times less work than sisa and accuracy lost at boundary {'; '.join(cells)}"


def _contributions(rows: Rows) -> str:
    patched = where(rows, method="dpus", scenario=BULK)
    cells = []
    for reading in distinct(rows, "reading"):
        calibrated, published = (where(patched, reading=reading, calibration=text) for text in ("True", "False"))
        lost = [f"{100.0 * mean(found, 'accuracy_lost'):.1f}" for found in (published, calibrated)]
        far = [f"{mean(found, 'forget_distance'):.2f}" for found in (published, calibrated)]
        cells.append(f"{reading}: {lost[0]} to {lost[1]} points lost, distance {far[0]} to {far[1]}")
    return f"1% at once, patched only, without and with calibration: {'; '.join(cells)}"


def _forgetting_time(rows: Rows) -> str:
    singles = where(rows, data="letter", kind="latency")
    rewound, first = (column(where(singles, method=one), "seconds") for one in ("rewind, then patch", "retrain first"))
    return (
        f"letter, one by one: rewound in {1000.0 * np.median(rewound):.1f} ms (99 of 100 within "
        f"{1000.0 * np.quantile(rewound, 0.99):.1f} ms); retrained first in {1000.0 * np.median(first):.0f} ms"
    )


def _limits(rows: Rows) -> str:
    many = where(rows, scenario="many at once")
    most = max(distinct(many, "per_shard"))
    work = {
        per_shard: mean(where(many, method="from scratch", per_shard=per_shard), "passes")
        / mean(where(many, method="sisa", per_shard=per_shard), "passes")
        for per_shard in (1, most)
    }
    voters = mean(where(many, method="sisa", per_shard=most), "voters")
    small = where(rows, scenario="small models", samples=min(distinct(rows, "samples")))
    milliseconds, accuracy = (
        {one: scale * mean(where(small, method=one), name) for one in ("sisa", "unsharded")}
        for name, scale in (("repaired_s", 1000.0), ("test_accuracy", 100.0))
    )
    return (
        f"1 sample for each shard: sisa {times(work[1])} less work than training anew; {most}: {times(work[most])}, and "
        f"{voters:.1f} shards left to vote. {min(distinct(rows, 'samples'))} samples in all: sisa takes "
        f"{milliseconds['sisa']:.0f} ms and is {accuracy['sisa']:.0f}% accurate, one model anew "
        f"{milliseconds['unsharded']:.0f} ms and {accuracy['unsharded']:.0f}%"
    )


def _forecast(rows: Rows) -> str:
    wrong = sum(row["passes"] != row["forecast_passes"] for row in rows)
    return f"passes wrong in {wrong} of {len(rows)}; seconds: median error {np.median(column(rows, 'error')):.0%}"


def _throughput(rows: Rows) -> str:
    cells = []
    for reading in distinct(rows, "reading"):
        found = where(rows, reading=reading)
        least, greatest = spread(found, "ratio")
        megabytes = mean(found, "update_bytes") / 1e6
        cells.append(
            f"{reading} {np.median(column(found, 'ratio')):.2f} ({least:.2f} to {greatest:.2f}), {megabytes:.0f} MB"
        )
    return f"samples per second as a share of the bare loop's, and recorded for a shard: {'; '.join(cells)}"


def _scaling(rows: Rows) -> str:
    one, two = (column(where(rows, workers=workers), "seconds") for workers in (1, 2))
    ratios = [alone / together for alone, together in zip(one, two, strict=True)]
    return f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _fine_tuning(rows: Rows) -> str:
    cells = []
    for method in distinct(rows, "method"):
        if method.startswith("ohs"):
            found = where(rows, method=method)
            cells.append(
                f"{method.removeprefix('ohs, ')}: {points(found)} points lost at {mean(found, 'share_of_passes'):.1%} of the "
                f"oracle's sample passes, {mean(found, 'share_of_seconds'):.1%} of its seconds"
            )
    return f"Fashion-MNIST, 1% at once, epochs at most {'; '.join(cells)}"


def _many_shards(rows: Rows) -> str:
    few, many = (where(rows, shards=one) for one in (min(distinct(rows, "shards")), max(distinct(rows, "shards"))))
    cells = []
    for found in (few, many):
        plan, single = where(found, what="plan"), where(found, what="single")
        [every] = where(found, what="every shard")
        cells.append(
            f"{found[0]['shards']} shards: forecast {1000.0 * np.median(column(plan, 'seconds')):.0f} ms, a request "
            f"{1000.0 * np.median(column(single, 'coordinator_s')):.0f} ms of the coordinator, one that touches every shard "
            f"{every['coordinator_s'] / every['touched'] * 1000.0:.1f} ms for each, {every['coordinator_mb']:.0f} MB"
        )
    return "; ".join(cells)


def _traffic(rows: Rows) -> str:
    exact = where(rows, method="sisa")
    alone, storm = (mean(where(exact, scenario=one), "passes") for one in ("one by one", "storm of 40"))
    uniform, owner = (mean(where(exact, scenario=f"owners, {one}"), "passes") for one in ("uniform", "owner"))
    return (
        f"sisa: 40 requests at once take {times(alone / storm)} less work than one by one; owners' requests "
        f"{times(uniform / owner)} less where the samples of an owner share a slice"
    )


def _tuning(rows: Rows) -> str:
    fresh = where(rows, trace="fresh", is_chosen="True")
    cells = []
    for name in distinct(fresh, "data"):
        chosen = where(fresh, data=name)
        regrets = column(chosen, "regret")
        best = sum(regret <= 1e-9 for regret in regrets)
        cells.append(
            f"{name}: the best on fresh traffic in {best} of {len(regrets)}, greatest regret {max(regrets):.3f}"
        )
    return "; ".join(cells)


FINDINGS = (
    Finding(
        experiment="strategies",
        figures=("strategies-accuracy", "strategies-time", "strategies-forgetting"),
        result=_strategies,
        shows="patches cost a small part of exact retraining; accuracy alone does not tell them from the control, which "
        "forgets nothing: the distance on the forget set does where few samples are revoked, and where many are, only replay "
        "stays near the oracle",
    ),
    Finding(
        experiment="partitions",
        figures=("partitions",),
        result=_partitions,
        shows="shards divide a request's work and cost accuracy, since each model sees less; slices divide it further, for "
        "checkpoints on disk",
    ),
    Finding(
        experiment="boundary",
        figures=("boundary",),
        result=_boundary,
        shows="work falls with every slice that is patched instead; beside it stands how far the forget set's losses are "
        "from the oracle's, too little and too much",
    ),
    Finding(
        experiment="contributions",
        figures=("contributions",),
        result=_contributions,
        shows="whole batches destroy a shard's model unless they are calibrated; grouped updates are best as they are, since "
        "calibrating them costs accuracy; the gradient, which records nothing, is as good once it is calibrated",
    ),
    Finding(
        experiment="fine_tuning",
        figures=("fine_tuning",),
        result=_fine_tuning,
        shows="each epoch gives accuracy back, and costs as much as the one before; three are the default",
    ),
    Finding(
        experiment="forgetting_time",
        figures=("forgetting_time",),
        result=_forgetting_time,
        shows="rewinding forgets before any remedy runs; where every shard is touched in its first slice nothing is served "
        "until the first of them is repaired",
    ),
    Finding(
        experiment="limits",
        figures=("limits",),
        result=_limits,
        shows="many requests for a shard at once make exact retraining a training from scratch; and where samples are few, "
        "one model that is trained anew in a moment is far more accurate than shards",
    ),
    Finding(
        experiment="traffic",
        figures=("traffic",),
        result=_traffic,
        shows="requests that come together share their remedies, and exact retraining gains most; an owner's request is "
        "cheap where the partition is by owner",
    ),
    Finding(
        experiment="tuning",
        figures=("tuning",),
        result=_tuning,
        shows="what is cheapest on one trace of a traffic is cheapest on another: to retrain always where few shards may owe "
        "retraining in the end, to patch always where all of them may",
    ),
    Finding(
        experiment="forecast",
        figures=("forecast",),
        result=_forecast,
        shows="the work is known exactly; the time of short stages varies",
    ),
    Finding(
        experiment="throughput",
        figures=("throughput",),
        result=_throughput,
        shows="checkpoints written through, and above all recorded updates, weigh against little training",
    ),
    Finding(
        experiment="scaling",
        figures=("scaling",),
        result=_scaling,
        shows="shards train side by side; Ray's own processes share the cores",
    ),
    Finding(
        experiment="many_shards",
        figures=("many_shards",),
        result=_many_shards,
        shows="what a request costs the coordinator grows with the number of shards, since a generation names them all",
    ),
)
