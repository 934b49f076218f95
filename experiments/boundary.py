"""What does the hybrid boundary buy: work and time against accuracy and forgetting?

Method: 20 requests of one sample, one after the other, on copies of one trained run, for hs and ohs at boundaries that
retrain a shard where its touched slices are none, the last one, ..., all of five. What is forgotten too little or too
much is the mean distance of the forgotten samples' losses below and above the retrained oracle's. An oracle of another
seed shows how far two exact retrainings are apart. The letter data, and 20,000 samples of Fashion-MNIST; three seeds;
seven minutes on two cores.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plots import legend, look, panels, with_spread
from rows import Row, Rows, distinct, mean, where
from subjects import Subject, about, outcome, shuffled_ids, trained
from workbench import Options, experiment, map_concurrently

from raymu.benchmark.compare import Method, MethodResult, revoke_with, train_from_scratch
from raymu.config.unlearning import Strategy
from raymu.core.records import Remedy

BOUNDARIES = (0.0, 0.35, 0.65, 0.85, 0.95, 1.0)
SINGLES = 20
SAMPLES = {"fashion-mnist": 20_000}
ORACLE, OTHER_ORACLE = "oracle", "another oracle"
MEASURES = {
    "passes": ("sample passes, thousands", 1e-3),
    "seconds": ("compute, s", 1.0),
    "test_accuracy": ("test accuracy, %", 100.0),
    "forget_distance": ("distance on the forget set", 1.0),
}


def measure(options: Options) -> Rows:
    return map_concurrently(sweep, options.subjects(samples=SAMPLES), options)


def sweep(subject: Subject) -> Rows:
    with trained(subject) as bench:
        requests = [[sample_id] for sample_id in shuffled_ids(bench)[:SINGLES]]
        oracle = train_from_scratch(bench, requests)
        other = train_from_scratch(bench, requests, seed=subject.seed + 1000)
        told = {**about(subject, bench), "scenario": f"{SINGLES} singles"}
        rows: Rows = [
            {**told, "boundary": None, "retrained": None, **outcome(trial, oracle.predictions), "method": name}
            for name, trial in ((ORACLE, oracle), (OTHER_ORACLE, other))
        ]
        for strategy in (Strategy.HS, Strategy.OHS):
            for boundary in BOUNDARIES:
                trial = revoke_with(Method(name=strategy, strategy=strategy, boundary=boundary), bench, requests)
                rows.append({**told, "boundary": boundary, **_retrained(trial), **outcome(trial, oracle.predictions)})
        return rows


def _retrained(trial: MethodResult) -> Row:
    """Share of the remedies that were retrainings."""
    remedies = [part.remedy for receipt in trial.receipts for part in receipt.shards]
    return {"retrained": remedies.count(Remedy.RETRAIN) / len(remedies)}


def draw(rows: Rows) -> Figure:
    names = distinct(rows, "data")
    figure, axes = panels(len(MEASURES) + 1, len(names), width=4.6, height=2.1, sharex=True)
    for place, name in enumerate(names):
        of_set, column = where(rows, data=name), axes[place :: len(names)]
        column[0].set_title(name)
        for one, (measured, (label, scale)) in zip(column, MEASURES.items(), strict=False):
            _draw_methods(one, of_set, measured, scale)
            one.set_ylabel(label)
        accuracy, distance, both_sides = column[-3:]
        level = 100.0 * mean(where(of_set, method=ORACLE), "test_accuracy")
        accuracy.axhline(level, color="black", lw=1.0, ls=":", label="oracle")
        noise = mean(where(of_set, method=OTHER_ORACLE), "forget_distance")
        distance.axhline(noise, color="#8c8c8c", lw=1.0, ls="--", label="oracle of another seed")
        _draw_methods(both_sides, of_set, "over_forgetting", 1.0)
        _draw_methods(both_sides, of_set, "under_forgetting", -1.0)
        both_sides.axhline(0.0, color="black", lw=0.8)
        both_sides.set_ylabel("too little (-), too much (+)\nforgotten, nats")
        both_sides.set_xlabel("hybrid boundary")
    legend(figure, axes)
    return figure


def _draw_methods(axes: Axes, rows: Rows, column: str, scale: float) -> None:
    for method in (Strategy.HS, Strategy.OHS):
        groups = [where(rows, method=method, boundary=boundary) for boundary in BOUNDARIES]
        with_spread(axes, BOUNDARIES, groups, column, scale=scale, label=method, **look(method))


if __name__ == "__main__":
    experiment("boundary", __doc__, measure, {"boundary": draw}, data=("letter", "fashion-mnist"))
