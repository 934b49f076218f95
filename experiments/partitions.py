"""What do the numbers of shards and slices change: accuracy, and the work of a request?

Method: S varied with five slices, and R varied with the data set's usual shards; for each, a trained run, ten requests
of one sample after the other with sisa, hs and ohs at the default boundary, and the oracle trained from scratch.
`bytes` is what the slice checkpoints take. The letter data, and 12,000 samples of Fashion-MNIST; three seeds; eleven
minutes on two cores.
"""

from dataclasses import dataclass

from matplotlib.figure import Figure
from plots import legend, logarithmic_x, logarithmic_y, look, panels, with_spread
from rows import Rows, distinct, where
from subjects import Subject, about, outcome, shuffled_ids, trained
from workbench import Options, experiment, map_concurrently

from raymu.benchmark.compare import STRATEGIES, ComparisonSetup, revoke_with, train_from_scratch
from raymu.config.unlearning import Strategy
from raymu.store.run import RunStore

SHARDS = (1, 2, 4, 8, 16)
SLICES = (1, 2, 5, 10, 20)
USUAL_SHARDS, USUAL_SLICES = 8, 5
SINGLES = 10
SAMPLES = {"fashion-mnist": 12_000}
METHODS = [method for method in STRATEGIES if method.strategy is not Strategy.DPUS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Partitioned:
    subject: Subject
    shards: int
    slices: int

    def __str__(self) -> str:
        return f"{self.subject}, {self.shards} x {self.slices}"


def measure(options: Options) -> Rows:
    shards, slices = ((2, 8), (2, 5)) if options.is_smoke else (SHARDS, SLICES)
    pairs = dict.fromkeys([*((one, USUAL_SLICES) for one in shards), *((USUAL_SHARDS, one) for one in slices)])
    jobs = [
        Partitioned(subject=subject, shards=shards, slices=slices)
        for subject in options.subjects(samples=SAMPLES)
        for shards, slices in pairs
    ]
    return map_concurrently(try_partition, jobs, options)


def try_partition(job: Partitioned) -> Rows:
    subject = job.subject
    with trained(subject, partition={"shards": job.shards, "slices": job.slices}) as bench:
        requests = [[sample_id] for sample_id in shuffled_ids(bench)[:SINGLES]]
        oracle = train_from_scratch(bench, requests)
        # A patch of a lone shard has no other shard to aim at; a checkpoint of its own stands in, or it is retrained.
        trials = [oracle, *(revoke_with(method, bench, requests) for method in METHODS)]
        told = {**about(subject, bench), "scenario": f"{SINGLES} singles", "bytes": _checkpoint_bytes(bench)}
        return [{**told, **outcome(trial, oracle.predictions)} for trial in trials]


def _checkpoint_bytes(bench: ComparisonSetup) -> int:
    lineages = RunStore(bench.base).current().lineages
    return sum(one.file.byte_size for lineage in lineages for one in lineage.checkpoints if one)


def draw(rows: Rows) -> Figure:
    names = distinct(rows, "data")
    figure, axes = panels(len(names), 4, width=2.4, height=2.6)
    for line, name in enumerate(names):
        of_set = where(rows, data=name)
        for place, (varied, fixed, usual) in enumerate(
            (("shards", "slices", USUAL_SLICES), ("slices", "shards", USUAL_SHARDS))
        ):
            compared = where(of_set, **{fixed: usual})
            at = sorted(distinct(compared, varied))
            accuracy, work = axes[4 * line + 2 * place : 4 * line + 2 * place + 2]
            for method in ("from scratch", "sisa", "hs", "ohs"):
                groups = [where(compared, method=method, **{varied: one}) for one in at]
                with_spread(accuracy, at, groups, "test_accuracy", scale=100.0, label=method, **look(method))
                with_spread(work, at, groups, "passes", scale=1.0 / SINGLES, label=method, **look(method))
            logarithmic_y(work)
            accuracy.set_ylabel("test accuracy, %")
            work.set_ylabel("sample passes a request")
            for one in (accuracy, work):
                logarithmic_x(one, at)
                one.set_xlabel(varied)
                one.set_title(f"{name}, {usual} {fixed}")
    legend(figure, axes)
    return figure


if __name__ == "__main__":
    experiment("partitions", __doc__, measure, {"partitions": draw}, data=("letter", "fashion-mnist"))
