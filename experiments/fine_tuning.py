"""How much fine-tuning does ohs need, and what does it cost?

Method: one trained run for each seed, an MLP on Fashion-MNIST with four shards x five slices; on copies of it, 1% of the
samples are revoked at once, which is above the default hybrid boundary in every shard. After the patch, ohs fine-tunes on
the last slice for one epoch, or for at most two or three, until the loss on unseen samples stops improving. Beside it the
oracle, trained from scratch without the same samples, the patch alone and the control. Three seeds; compute is of one
thread; four minutes on two cores.
"""

from matplotlib.figure import Figure
from plots import look, panels, with_spread
from rows import Rows, distinct, where
from subjects import Subject, about, outcome, shuffled_ids, trained
from workbench import Options, experiment, map_concurrently

from raymu.benchmark.compare import SCRATCH, Method, compare
from raymu.config.unlearning import Strategy

MOST_EPOCHS = (1, 2, 3)
SHARE = 0.01
METHODS = (
    Method(name="dpus", strategy=Strategy.DPUS),
    *(
        Method(name=f"ohs, {epochs}", strategy=Strategy.OHS, unlearning={"ohs": {"epochs": epochs}})
        for epochs in MOST_EPOCHS
    ),
)


def measure(options: Options) -> Rows:
    return map_concurrently(try_epochs, options.subjects(), options)


def try_epochs(subject: Subject) -> Rows:
    with trained(subject) as bench:
        ids = shuffled_ids(bench)
        forgotten = round(SHARE * len(ids))
        trials = compare(bench, [ids[:forgotten]], METHODS)
        [scratch] = [trial for trial in trials if trial.method == SCRATCH]
        told = {**about(subject, bench), "forgotten": forgotten}
        return [
            {
                **told,
                **outcome(trial, scratch.predictions),
                "share_of_passes": trial.passes / scratch.passes,
                "share_of_seconds": trial.seconds / scratch.seconds,
            }
            for trial in trials
        ]


def draw(rows: Rows) -> Figure:
    figure, axes = panels(1, 3, width=3.0)
    measured = (
        ("accuracy_lost", "points of accuracy lost", 100.0),
        ("share_of_passes", "sample passes, % of the oracle's", 100.0),
        ("forget_distance", "distance on the forget set", 1.0),
    )
    methods = [name for name in distinct(rows, "method") if name != SCRATCH]
    for one, (name, label, scale) in zip(axes, measured, strict=True):
        for place, method in enumerate(methods):
            how = look(method.partition(",")[0]) | {"linestyle": "none"}
            with_spread(one, [place], [where(rows, method=method)], name, scale=scale, **how)
        one.set_xticks(range(len(methods)), methods)
        one.set_xlabel("strategy, and most epochs of ohs")
        one.set_ylabel(label)
        one.grid(visible=False, axis="x")
    return figure


if __name__ == "__main__":
    experiment("fine_tuning", __doc__, measure, {"fine_tuning": draw}, data=("fashion-mnist",))
