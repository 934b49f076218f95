"""How long does it take until a request is forgotten, and what is served meanwhile?

Method: on Ray, with eight shards of the letter data or four of Fashion-MNIST, and two workers. First, one request for one
sample and one for 1% of the samples, each in three ways: rewound and then retrained, rewound and then patched, and retrained
before anything changes (`on_accept: keep`), which is the baseline for rewinding. Every published generation is recorded with
the time in its manifest, and its test accuracy is measured afterwards. A generation has forgotten if no shard serves a state
that saw the samples. Then, requests for one sample each, one after the other: 200 rewound and patched, 30 retrained first,
with the time from a request's receipt to the publication that forgets it, including journal commit and manifest. One seed.
It takes five to ten minutes.

Conclusion: rewinding forgets before any remedy runs. If every shard is affected in its first slice, nothing is served until
the first shard is repaired.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Event, Thread
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.plots import PALETTE, legend, panels
from experiments.setups import setup_columns, shuffled_ids, trained
from raymu.api import open_run
from raymu.benchmark.compare import ComparisonSetup, Method
from raymu.config.unlearning import Strategy
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.errors import FileMissing, NoVoters
from raymu.plots import LOOKS
from raymu.runtime.cluster import cluster_connection
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore

POLL_S = 0.01
TIMELINE, LATENCY = "timeline", "latency"
KEEP = Method(name="retrain first", strategy=Strategy.SISA, unlearning={"on_accept": "keep"})
PATCH = Method(name="rewind, then patch", strategy=Strategy.DPUS)
RETRAIN = Method(name="rewind, then retrain", strategy=Strategy.SISA)
COLOUR = {KEEP.name: PALETTE[5], RETRAIN.name: LOOKS["sisa"].colour, PATCH.name: LOOKS["dpus"].colour}
WIDTH = {KEEP.name: 4.5, RETRAIN.name: 2.8, PATCH.name: 1.2}
"""Line widths. Later lines are drawn over earlier ones."""
SINGLES = {PATCH.name: 200, KEEP.name: 30}
"""Number of single requests that follow, by method."""


class GenerationWatcher:
    """Loads generations as they are published. A generation that is superseded within the polling time may be missed."""

    def __init__(self, location: str) -> None:
        self._store = RunStore(location)
        self._stop = Event()
        self._thread = Thread(target=self._watch)
        self._numbers: set[int] = set()
        self.loaded: list[tuple[datetime, Ensemble | None]] = []
        """Publication time and ensemble of each generation; None instead of an ensemble without voters."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch until the end of the context."""
        self._load()
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
            self._load()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            with suppress(FileMissing):  # superseded and purged while it was being read
                self._load()

    def _load(self) -> None:
        generation = self._store.current()
        if generation.number in self._numbers:
            return
        try:
            ensemble = Ensemble(self._store, generation)
        except NoVoters:
            ensemble = None
        self._numbers.add(generation.number)
        self.loaded.append((generation.published_at, ensemble))


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for setup in options.setups(seeds=1)[: 1 if options.is_smoke else None]:
        with trained(setup, cluster={"fleet": "ray"}) as comparison, cluster_connection(comparison.config.cluster):
            ids = shuffled_ids(comparison)
            for scenario, size in {"1 sample": 1, "1% at once": len(ids) // 100}.items():
                for method in (KEEP, RETRAIN, PATCH):
                    count = SINGLES.get(method.name, 0) if size == 1 else 0
                    singles = ids[size:][: min(count, 5) if setup.is_smoke else count]
                    columns = {**setup_columns(setup, comparison), "scenario": scenario, "method": method.name}
                    rows += [{**columns, **row} for row in _revoke(comparison, method, ids[:size], singles)]
    return rows


def _revoke(
    comparison: ComparisonSetup, method: Method, forget: Sequence[SampleId], singles: Sequence[SampleId]
) -> list[Row]:
    """Watch one request, and time single requests after it. Returns a row for each generation and each single request."""
    with comparison.branch(method.unlearning) as location, open_run(location) as run:
        run.warm_up()
        watcher = GenerationWatcher(location)
        with watcher.watching():
            receipt = run.revoke(forget, strategy=method.strategy)
        rows = [_timeline_row(comparison, receipt, at, ensemble) for at, ensemble in watcher.loaded]
        receipts = [run.revoke([sample_id], strategy=method.strategy) for sample_id in singles]
        return [*rows, *({"kind": LATENCY, "seconds": _forgotten_s(receipt)} for receipt in receipts)]


def _timeline_row(
    comparison: ComparisonSetup, receipt: Receipt, published_at: datetime, ensemble: Ensemble | None
) -> Row:
    seconds = max(0.0, (published_at - receipt.received_at).total_seconds())
    return {
        "kind": TIMELINE,
        "seconds": seconds,
        "test_accuracy": None if ensemble is None else comparison.test_accuracy(ensemble.predict),
        "is_forgotten": int(seconds >= _forgotten_s(receipt)),
    }


def _forgotten_s(receipt: Receipt) -> float:
    forgotten_at = receipt.rewound_at or receipt.published_at
    assert forgotten_at is not None, "revoking returns once the repair is published"
    return (forgotten_at - receipt.received_at).total_seconds()


def summary(rows: pd.DataFrame) -> str:
    seconds = rows.query("data == 'letter' and kind == @LATENCY").groupby("method")["seconds"]
    medians, slow = 1000.0 * seconds.median(), 1000.0 * seconds.quantile(0.99)
    return (
        f"letter, one by one: rewound in {medians[PATCH.name]:.1f} ms (99 of 100 within {slow[PATCH.name]:.1f} ms), "
        f"retrained first in {medians[KEEP.name]:.0f} ms"
    )


def draw(rows: pd.DataFrame) -> Figure:
    timelines, latencies = (rows[rows["kind"] == kind] for kind in (TIMELINE, LATENCY))
    names, scenarios = rows["data"].unique(), timelines["scenario"].unique()
    figure, axes = panels(len(names), len(scenarios) + 1, width=3.3, height=2.8)
    for panel_row, name in enumerate(names):
        *timeline_panels, latency_panel = axes[panel_row * (len(scenarios) + 1) :][: len(scenarios) + 1]
        for panel, scenario in zip(timeline_panels, scenarios, strict=True):
            _draw_timelines(panel, timelines.query("data == @name and scenario == @scenario"))
            panel.set_title(f"{name}, {scenario}")
        _draw_latencies(latency_panel, latencies[latencies["data"] == name])
        latency_panel.set_title(f"{name}, one by one")
    legend(figure, axes)
    return figure


def _draw_timelines(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw dotted lines while the samples are not forgotten, and a gap while no shard votes."""
    end = 2.0 * rows["seconds"].max()
    for method in COLOUR:
        generations = rows[rows["method"] == method].to_dict("records")
        times = [max(generation["seconds"], 1e-3) for generation in generations] + [end]
        line: dict[str, Any] = {"color": COLOUR[method], "lw": WIDTH[method]}
        for generation, start, stop in zip(generations, times, times[1:], strict=False):
            if not np.isnan(generation["test_accuracy"]):
                level = 100.0 * generation["test_accuracy"]
                axes.plot([start, stop], [level, level], "-" if generation["is_forgotten"] else ":", **line)
            elif method == RETRAIN.name:
                axes.text((start * stop) ** 0.5, 0.5, "no voters", transform=axes.get_xaxis_transform(), ha="center")
        axes.plot([], [], **line, label=method)
    axes.plot([], [], ":", color="#555555", lw=2.0, label="dotted: not yet forgotten")
    axes.set_xscale("log")
    axes.set_xlabel("seconds after the request")
    axes.set_ylabel("test accuracy, %")


def _draw_latencies(axes: Axes, rows: pd.DataFrame) -> None:
    for method, measured in rows.groupby("method"):
        times = measured["seconds"].sort_values()
        axes.step(times, 100.0 * np.arange(1, len(times) + 1) / len(times), where="post", color=COLOUR[method])
    axes.set_xscale("log")
    axes.set_xlabel("seconds until forgotten")
    axes.set_ylabel("requests, %")


EXPERIMENT = Experiment(
    name="forgetting_time",
    doc=__doc__,
    results=("forgetting_time.csv",),
    summary=summary,
    figures={"forgetting_time": draw},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("letter", "fashion-mnist"))
