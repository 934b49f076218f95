"""What does each strategy cost, and what is left of accuracy, against retraining and against forgetting nothing?

Method: one trained run for each data set, model and seed; on copies of it, every strategy (ohs in both forms: fine-tune
and replay) honours 0.01%, 0.1%, 1% and 10% of the samples at once, and 20 requests of one sample after the other, at
the default hybrid boundary. Beside them the oracle, trained from scratch without the same samples, and the control,
which fine-tunes and subtracts nothing. An MLP on all data sets; a small CNN on the images, with 6,000 of their samples,
1% at once and the 20 requests only. Three seeds, which change partition, initial weights, order and forget set. Seconds
are of compute, one thread. Forty minutes on two cores. The figures correspond to the paper's figures 4 (accuracy) and
5 (time).
"""

from collections.abc import Mapping

from data_sets import DATA_SETS
from matplotlib.figure import Figure
from plots import dodged, legend, logarithmic_y, panels
from rows import Rows, distinct, where
from subjects import Subject, about, outcome, shuffled_ids, trained
from workbench import Options, experiment, map_concurrently

from raymu.benchmark.compare import SCRATCH, STRATEGIES, ComparisonSetup, Method, Requests, compare
from raymu.config.unlearning import Strategy

SHARES = {"0.01%": 0.0001, "0.1%": 0.001, "1%": 0.01, "10%": 0.1}
SINGLES = "20 singles"
CNN_SCENARIOS = ("1%", SINGLES)
CNN_SAMPLES = 6000
REPLAY = Method(name="ohs, replay", strategy=Strategy.OHS, unlearning={"ohs": {"remedy": "replay"}})


def measure(options: Options) -> Rows:
    images = [name for name in options.data if DATA_SETS[name].is_image]
    small = options.subjects(model="cnn", samples=dict.fromkeys(images, CNN_SAMPLES))
    cnns = [subject for subject in small if subject.data in images]
    return map_concurrently(try_strategies, [*options.subjects(), *cnns], options)


def try_strategies(subject: Subject) -> Rows:
    with trained(subject) as bench:
        rows: Rows = []
        for scenario, requests in scenarios(subject, bench).items():
            trials = compare(bench, requests, (*STRATEGIES, REPLAY))
            [oracle] = [trial.predictions for trial in trials if trial.method == SCRATCH]
            told = {**about(subject, bench), "scenario": scenario, "forgotten": sum(map(len, requests))}
            rows += [{**told, **outcome(trial, oracle)} for trial in trials]
        return rows


def scenarios(subject: Subject, bench: ComparisonSetup) -> Mapping[str, Requests]:
    ids = shuffled_ids(bench)
    at_once = {scenario: [ids[: max(1, round(share * len(ids)))]] for scenario, share in SHARES.items()}
    every = {**at_once, SINGLES: [[sample_id] for sample_id in ids[:20]]}
    return {scenario: every[scenario] for scenario in (CNN_SCENARIOS if subject.model == "cnn" else every)}


def draw_accuracy(rows: Rows) -> Figure:
    return _draw(rows, "test_accuracy", "test accuracy, %", scale=100.0, is_logarithmic=False)


def draw_time(rows: Rows) -> Figure:
    return _draw(rows, "seconds", "compute, s", scale=1.0, is_logarithmic=True)


def draw_forgetting(rows: Rows) -> Figure:
    return _draw(rows, "forget_distance", "distance on the forget set", scale=1.0, is_logarithmic=False)


def _draw(rows: Rows, name: str, label: str, *, scale: float, is_logarithmic: bool) -> Figure:
    subjects = [
        (data, model) for model in distinct(rows, "model") for data in distinct(where(rows, model=model), "data")
    ]
    figure, axes = panels(-(-len(subjects) // 2), min(len(subjects), 2), width=4.6)
    for one, (data, model) in zip(axes, subjects, strict=False):
        of_subject = where(rows, data=data, model=model)
        places, methods = distinct(of_subject, "scenario"), distinct(of_subject, "method")
        dodged(one, of_subject, across="scenario", places=places, methods=methods, name=name, scale=scale)
        one.set_title(f"{data}, {model.upper()}")
        one.set_ylabel(label)
        if is_logarithmic:
            logarithmic_y(one)
    for empty in axes[len(subjects) :]:
        empty.set_axis_off()
    for lowest in axes[max(0, len(subjects) - 2) : len(subjects)]:
        lowest.set_xlabel("samples revoked")
    legend(figure, axes)
    return figure


if __name__ == "__main__":
    experiment(
        "strategies",
        __doc__,
        measure,
        {
            "strategies-accuracy": draw_accuracy,
            "strategies-time": draw_time,
            "strategies-forgetting": draw_forgetting,
        },
        data=tuple(DATA_SETS),
    )
