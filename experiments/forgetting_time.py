"""How long until a request is forgotten, and what is served meanwhile?

Method: on Ray, with eight shards of the letter data, or four of Fashion-MNIST, and two workers. (1) One request of one
sample, and one of 1% of the samples: rewound and then retrained, rewound and then patched, and retrained first
(`on_accept: keep`), which is what rewinding is compared with. Every generation that is published is caught, and its
test accuracy measured afterwards; its time is its manifest's. It has forgotten once no shard serves what saw the
samples. (2) Requests of one sample, one after the other: 200 rewound and patched, 30 retrained first; the time from a
request's receipt to the publication in which it is forgotten, journal commit and manifest included. One seed; four
minutes.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Event, Thread

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plots import legend, panels
from rows import Row, Rows, column, distinct, where
from subjects import about, shuffled_ids, trained
from workbench import Options, experiment

from raymu.api import Run, open_run
from raymu.comparison import Bench, Method
from raymu.core.receipt import Receipt
from raymu.core.records import Generation, SampleId
from raymu.core.requests import Strategy
from raymu.errors import FileMissing, NoVoters
from raymu.figure import COLOURS
from raymu.runtime.cluster import cluster_connection
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore

POLL_S = 0.01
COURSE, LATENCY = "course", "latency"
KEEP = Method(name="retrain first", strategy=Strategy.SISA, unlearning={"on_accept": "keep"})
PATCH = Method(name="rewind, then patch", strategy=Strategy.DPUS)
RETRAIN = Method(name="rewind, then retrain", strategy=Strategy.SISA)
LOOK = {KEEP.name: COLOURS["dpus"], PATCH.name: COLOURS["hs"], RETRAIN.name: COLOURS["sisa"]}
REQUESTS = {PATCH: 200, KEEP: 30}


class Watcher:
    """Catches generations as they are published; one that is superseded within the polling time may be missed."""

    def __init__(self, location: str) -> None:
        self._store = RunStore(location)
        self._stop = Event()
        self._thread = Thread(target=self._watch)
        self.caught: dict[int, tuple[datetime, Ensemble | None]] = {}

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
        if generation.number not in self.caught:
            self.caught[generation.number] = generation.published_at, self._load(generation)

    def _load(self, generation: Generation) -> Ensemble | None:
        """None where no shard is left to vote."""
        with suppress(NoVoters):
            return Ensemble(self._store, generation)
        return None


def measure(options: Options) -> Rows:
    rows: Rows = []
    for subject in options.subjects(seeds=1):
        with trained(subject, cluster={"fleet": "ray"}) as bench, cluster_connection(bench.config.cluster):
            told = about(subject, bench)
            ids = shuffled_ids(bench)
            for scenario, forget in {"1 sample": ids[:1], "1% at once": ids[: len(ids) // 100]}.items():
                for method in (KEEP, RETRAIN, PATCH):
                    rows += [{**told, "scenario": scenario, **row} for row in _course(bench, method, forget)]
            for method, count in REQUESTS.items():
                few = ids[: 5 if subject.is_smoke else count]
                rows += [{**told, "scenario": "singles", **row} for row in _latencies(bench, method, few)]
    return rows


def _course(bench: Bench, method: Method, forget: Sequence[SampleId]) -> Rows:
    """One row for each generation."""
    with bench.copy_of_base(method.unlearning) as place, open_run(place) as run:
        run.warm_up()
        watcher = Watcher(place)
        with watcher.watching():
            receipt = run.revoke(forget, strategy=method.strategy)
            time.sleep(2 * POLL_S)
        forgotten_s, start = _forgotten_s(receipt), receipt.received_at
        rows: Rows = []
        for number, (published_at, ensemble) in sorted(watcher.caught.items()):
            seconds = max(0.0, (published_at - start).total_seconds())
            rows.append(
                _row(
                    COURSE,
                    method,
                    generation=number,
                    seconds=seconds,
                    test_accuracy=None if ensemble is None else bench.test_accuracy(ensemble.predict),
                    is_forgotten=int(seconds >= forgotten_s),
                )
            )
        return rows


def _latencies(bench: Bench, method: Method, ids: Sequence[SampleId]) -> Rows:
    """One row for each request."""
    with bench.copy_of_base(method.unlearning) as place, open_run(place) as run:
        run.warm_up()
        return [_row(LATENCY, method, seconds=_forgotten_s(_revoke(run, method, one))) for one in ids]


def _revoke(run: Run, method: Method, sample_id: SampleId) -> Receipt:
    return run.revoke([sample_id], strategy=method.strategy)


def _forgotten_s(receipt: Receipt) -> float:
    forgotten_at = receipt.rewound_at or receipt.published_at
    assert forgotten_at is not None, "revoking returns once the repair is published"
    return (forgotten_at - receipt.received_at).total_seconds()


def _row(
    kind: str,
    method: Method,
    *,
    seconds: float,
    generation: int | None = None,
    test_accuracy: float | None = None,
    is_forgotten: int | None = None,
) -> Row:
    return {
        "kind": kind,
        "method": method.name,
        "generation": generation,
        "seconds": seconds,
        "test_accuracy": test_accuracy,
        "is_forgotten": is_forgotten,
    }


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
    for method in distinct(rows, "method"):
        found = where(rows, method=method)
        times = [max(row["seconds"], 1e-3) for row in found] + [end]
        levels = [float("nan") if row["test_accuracy"] is None else 100.0 * row["test_accuracy"] for row in found]
        for position, (row, level) in enumerate(zip(found, levels, strict=True)):
            line = "-" if row["is_forgotten"] else ":"
            axes.plot(times[position : position + 2], [level, level], line, color=LOOK[method], lw=2.0)
            axes.plot(times[position], level, "o", color=LOOK[method], ms=3.5)
        axes.plot([], [], "-o", color=LOOK[method], ms=3.5, label=method)
    axes.plot([], [], ":", color="#555555", lw=2.0, label="dotted: not yet forgotten")
    axes.set_xscale("log")
    axes.set_xlabel("seconds after the request")
    axes.set_ylabel("test accuracy, %")


def _draw_latencies(axes: Axes, rows: Rows) -> None:
    for method in distinct(rows, "method"):
        times = np.sort(column(where(rows, method=method), "seconds"))
        axes.step(times, 100.0 * np.arange(1, len(times) + 1) / len(times), where="post", color=LOOK[method])
    axes.set_xscale("log")
    axes.set_xlabel("seconds until forgotten")
    axes.set_ylabel("requests, %")


if __name__ == "__main__":
    experiment("forgetting_time", __doc__, measure, {"forgetting_time": draw}, data=("letter", "fashion-mnist"))
