"""How long until a request is forgotten, and what is served meanwhile?

Method: on Ray, with eight shards of the letter data, or four of Fashion-MNIST, and two workers. (1) One request of one
sample, and one of 1% of the samples: rewound and then retrained, rewound and then patched, and retrained first
(`on_accept: keep`), which is what rewinding is compared with. Every generation that is published is caught, and its
test accuracy measured afterwards; its time is its manifest's. It has forgotten once no shard serves what saw the
samples. (2) Requests of one sample, one after the other: 200 rewound and patched, 30 retrained first; the time from a
request's receipt to the publication in which it is forgotten, journal commit and manifest included. One seed; four
minutes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Event, Thread
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plots import legend, panels
from rows import Row, Rows, column, distinct, where
from subjects import about, shuffled_ids, trained
from workbench import Options, experiment

from raymu.api import open_run
from raymu.benchmark.compare import ComparisonSetup, Method
from raymu.config.unlearning import Strategy
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.errors import FileMissing, NoVoters
from raymu.plots import COLOURS
from raymu.runtime.cluster import cluster_connection
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore

POLL_S = 0.01
COURSE, LATENCY = "course", "latency"
KEEP = Method(name="retrain first", strategy=Strategy.SISA, unlearning={"on_accept": "keep"})
PATCH = Method(name="rewind, then patch", strategy=Strategy.DPUS)
RETRAIN = Method(name="rewind, then retrain", strategy=Strategy.SISA)
COLOUR = {KEEP.name: COLOURS["dpus"], RETRAIN.name: COLOURS["sisa"], PATCH.name: COLOURS["hs"]}
WIDTH = {KEEP.name: 4.5, RETRAIN.name: 2.8, PATCH.name: 1.2}
"""The later is drawn over the earlier."""
SINGLES = {PATCH.name: 200, KEEP.name: 30}
"""Requests of one sample that follow, one after the other."""


class Watcher:
    """Catches generations as they are published; one that is superseded within the polling time may be missed."""

    def __init__(self, location: str) -> None:
        self._store = RunStore(location)
        self._stop = Event()
        self._thread = Thread(target=self._watch)
        self._numbers: set[int] = set()
        self.caught: list[tuple[datetime, Ensemble | None]] = []
        """When each was published, and who votes in it; None where no shard is left to."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._catch()
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
            self._catch()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            with suppress(FileMissing):  # superseded, and destroyed, while it was being read
                self._catch()

    def _catch(self) -> None:
        generation = self._store.current()
        if generation.number in self._numbers:
            return
        try:
            ensemble = Ensemble(self._store, generation)
        except NoVoters:
            ensemble = None
        self._numbers.add(generation.number)
        self.caught.append((generation.published_at, ensemble))


def measure(options: Options) -> Rows:
    rows: Rows = []
    for subject in options.subjects(seeds=1)[: 1 if options.is_smoke else None]:
        with trained(subject, cluster={"fleet": "ray"}) as bench, cluster_connection(bench.config.cluster):
            ids = shuffled_ids(bench)
            for scenario, size in {"1 sample": 1, "1% at once": len(ids) // 100}.items():
                for method in (KEEP, RETRAIN, PATCH):
                    count = SINGLES.get(method.name, 0) if size == 1 else 0
                    singles = ids[size:][: min(count, 5) if subject.is_smoke else count]
                    told = {**about(subject, bench), "scenario": scenario, "method": method.name}
                    rows += [{**told, **row} for row in _try(bench, method, ids[:size], singles)]
    return rows


def _try(bench: ComparisonSetup, method: Method, forget: Sequence[SampleId], singles: Sequence[SampleId]) -> Rows:
    """A request, watched; and requests of one sample after it. returns: a row for each generation, and for each request"""
    with bench.branch(method.unlearning) as place, open_run(place) as run:
        run.warm_up()
        watcher = Watcher(place)
        with watcher.watching():
            receipt = run.revoke(forget, strategy=method.strategy)
        courses = [_course_row(bench, receipt, at, ensemble) for at, ensemble in watcher.caught]
        later = [run.revoke([one], strategy=method.strategy) for one in singles]
        return [*courses, *({"kind": LATENCY, "seconds": _forgotten_s(one)} for one in later)]


def _course_row(bench: ComparisonSetup, receipt: Receipt, published_at: datetime, ensemble: Ensemble | None) -> Row:
    seconds = max(0.0, (published_at - receipt.received_at).total_seconds())
    return {
        "kind": COURSE,
        "seconds": seconds,
        "test_accuracy": None if ensemble is None else bench.test_accuracy(ensemble.predict),
        "is_forgotten": int(seconds >= _forgotten_s(receipt)),
    }


def _forgotten_s(receipt: Receipt) -> float:
    forgotten_at = receipt.rewound_at or receipt.published_at
    assert forgotten_at is not None, "revoking returns once the repair is published"
    return (forgotten_at - receipt.received_at).total_seconds()


def draw(rows: Rows) -> Figure:
    names, scenarios = distinct(rows, "data"), distinct(where(rows, kind=COURSE), "scenario")
    figure, axes = panels(len(names), len(scenarios) + 1, width=3.3, height=2.8)
    for line, name in enumerate(names):
        of_set = where(rows, data=name)
        for place, scenario in enumerate(scenarios):
            one = axes[line * (len(scenarios) + 1) + place]
            _draw_courses(one, where(of_set, kind=COURSE, scenario=scenario))
            one.set_title(f"{name}, {scenario}")
        one = axes[line * (len(scenarios) + 1) + len(scenarios)]
        _draw_latencies(one, where(of_set, kind=LATENCY))
        one.set_title(f"{name}, one by one")
    legend(figure, axes)
    return figure


def _draw_courses(axes: Axes, rows: Rows) -> None:
    """Dotted as long as the samples are not forgotten; a gap where no shard is left to vote."""
    end = 2.0 * max(column(rows, "seconds"))
    for method in COLOUR:
        found = where(rows, method=method)
        times = [max(row["seconds"], 1e-3) for row in found] + [end]
        how: dict[str, Any] = {"color": COLOUR[method], "lw": WIDTH[method]}
        for row, start, stop in zip(found, times, times[1:], strict=False):
            if row["test_accuracy"] is not None:
                level = 100.0 * row["test_accuracy"]
                axes.plot([start, stop], [level, level], "-" if row["is_forgotten"] else ":", **how)
            elif method == RETRAIN.name:
                axes.text((start * stop) ** 0.5, 0.5, "no voters", transform=axes.get_xaxis_transform(), ha="center")
        axes.plot([], [], **how, label=method)
    axes.plot([], [], ":", color="#555555", lw=2.0, label="dotted: not yet forgotten")
    axes.set_xscale("log")
    axes.set_xlabel("seconds after the request")
    axes.set_ylabel("test accuracy, %")


def _draw_latencies(axes: Axes, rows: Rows) -> None:
    for method in distinct(rows, "method"):
        times = np.sort(column(where(rows, method=method), "seconds"))
        axes.step(times, 100.0 * np.arange(1, len(times) + 1) / len(times), where="post", color=COLOUR[method])
    axes.set_xscale("log")
    axes.set_xlabel("seconds until forgotten")
    axes.set_ylabel("requests, %")


if __name__ == "__main__":
    experiment("forgetting_time", __doc__, measure, {"forgetting_time": draw}, data=("letter", "fashion-mnist"))
