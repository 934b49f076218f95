"""Where does it not pay?

Method: (1) many requests at once, on the letter data with 8 shards x 5 slices: 1 to 50 samples for each shard on
average, with sisa, hs at two boundaries, and ohs, against training from scratch; and how many shards are left to vote
when all the touched ones are rewound. (2) small models and little data: the time from a request to its published repair
and the compute in it, over 5 requests of one sample, against training one unsharded model anew without the sample,
which is what else one would do; and the test accuracy of both. Three seeds; four minutes on two cores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plots import legend, logarithmic_x, logarithmic_y, look, panels, with_spread
from rows import Row, Rows, distinct, where
from subjects import Subject, about, outcome, shuffled_ids, trained
from workbench import Options, experiment, map_concurrently

from raymu.benchmark.compare import (
    SCRATCH,
    STRATEGIES,
    ComparisonSetup,
    Method,
    Requests,
    revoke_with,
    rewound_generation,
    train_from_scratch,
)
from raymu.config.unlearning import Strategy
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.records import SampleId
from raymu.store.run import RunStore

AT_ONCE = "many at once"
SMALL = "small models"
PER_SHARD = (1, 2, 5, 10, 20, 50)
WIDE_BOUNDARY = 0.85
METHODS = (*STRATEGIES, Method(name="hs, boundary 0.85", strategy=Strategy.HS, boundary=WIDE_BOUNDARY))
SAMPLES = (500, 2000, 8000, 16_000)
WIDTHS = (16, 256)
SINGLES = 5
UNSHARDED = "unsharded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """scenario: which limit; width: of the hidden layer"""

    scenario: str
    subject: Subject
    width: int

    def __str__(self) -> str:
        return f"{self.scenario}: {self.subject}, {self.subject.samples or 'all'} samples, width {self.width}"


def measure(options: Options) -> Rows:
    sizes = SAMPLES[:2] if options.is_smoke else SAMPLES
    jobs = [Question(scenario=AT_ONCE, subject=subject, width=256) for subject in options.subjects()]
    jobs += [
        Question(scenario=SMALL, subject=subject, width=width)
        for size in sizes
        for width in WIDTHS
        for subject in options.subjects(samples=dict.fromkeys(options.data, size))
    ]
    return map_concurrently(try_limit, jobs, options)


def try_limit(question: Question) -> Rows:
    with trained(question.subject, model={"name": "mlp", "hidden": [question.width]}) as bench:
        told = {**about(question.subject, bench), "scenario": question.scenario, "width": question.width}
        found = _try_many(bench, question) if question.scenario == AT_ONCE else _try_small(bench, question)
        return [{**told, **row} for row in found]


def _try_many(bench: ComparisonSetup, question: Question) -> Rows:
    ids, rows = shuffled_ids(bench), []
    for per_shard in PER_SHARD[: 3 if question.subject.is_smoke else None]:
        forget = ids[: per_shard * bench.config.partition.shards]
        oracle = train_from_scratch(bench, [forget])
        told: Row = {"per_shard": per_shard, "voters": _voters(bench, forget)}
        trials = [oracle, *(revoke_with(method, bench, [forget]) for method in METHODS)]
        rows += [{**told, **outcome(trial, oracle.predictions)} for trial in trials]
    return rows


def _voters(bench: ComparisonSetup, ids: list[SampleId]) -> int:
    """Shards that still vote when the touched ones are rewound."""
    generation = rewound_generation(RunStore(bench.base), ids)
    return sum(one.checkpoint is not None for one in generation.constituents)


def _try_small(bench: ComparisonSetup, question: Question) -> Rows:
    requests = [[sample_id] for sample_id in shuffled_ids(bench)[:SINGLES]]
    answers, row = _unsharded(question, requests)
    rows: Rows = [row]
    for method in STRATEGIES:
        trial = revoke_with(method, bench, requests)
        rows.append(outcome(trial, answers))
    return [{"per_shard": None, "voters": None, **one} for one in rows]


def _unsharded(question: Question, requests: Requests) -> tuple[PredictionSummary, Row]:
    """One model of all samples, trained anew once for each request."""
    partition = {"shards": 1, "slices": 1}
    with trained(question.subject, model={"name": "mlp", "hidden": [question.width]}, partition=partition) as bench:
        trial = train_from_scratch(bench, requests)
        return trial.predictions, outcome(trial, trial.predictions) | {"method": UNSHARDED}


def draw(rows: Rows) -> Figure:
    figure, axes = panels(2, 3, width=3.2)
    _draw_many(axes[:3], where(rows, scenario=AT_ONCE))
    _draw_small(axes[3:], where(rows, scenario=SMALL))
    legend(figure, axes)
    return figure


def _draw_many(axes: Sequence[Axes], rows: Rows) -> None:
    at = distinct(rows, "per_shard")
    for method in distinct(rows, "method"):
        groups = [where(rows, method=method, per_shard=one) for one in at]
        how = look(method) | {"label": method}
        with_spread(axes[0], at, groups, "passes", scale=1e-3, **how)
        with_spread(axes[1], at, groups, "test_accuracy", scale=100.0, **how)
    everyone = [where(rows, method=SCRATCH, per_shard=one) for one in at]
    with_spread(axes[2], at, everyone, "voters", color="black", marker="o")
    logarithmic_y(axes[0])
    for one, label in zip(axes, ("sample passes, thousands", "test accuracy, %", "shards left to vote"), strict=True):
        logarithmic_x(one, at)
        one.set_title("many requests at once")
        one.set_xlabel("samples for each shard")
        one.set_ylabel(label)


def _draw_small(axes: Sequence[Axes], rows: Rows) -> None:
    at = sorted(distinct(rows, "samples"))
    for one, width in zip(axes, WIDTHS, strict=False):
        for method in (UNSHARDED, Strategy.SISA, Strategy.DPUS):
            groups = [where(rows, method=method, width=width, samples=samples) for samples in at]
            with_spread(one, at, groups, "repaired_s", label=method, **look(method))
        logarithmic_y(one)
        one.set_title(f"hidden layer of {width}")
        one.set_ylabel("until repaired, s")
    for method in (UNSHARDED, Strategy.SISA):
        groups = [where(rows, method=method, width=WIDTHS[-1], samples=samples) for samples in at]
        with_spread(axes[2], at, groups, "test_accuracy", scale=100.0, label=method, **look(method))
    axes[2].set_ylabel("test accuracy, %")
    axes[2].set_title(f"hidden layer of {WIDTHS[-1]}")
    for one in axes:
        logarithmic_x(one, at)
        one.set_xlabel("samples")


if __name__ == "__main__":
    experiment("limits", __doc__, measure, {"limits": draw})
