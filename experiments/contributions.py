"""Which reading of contributions forgets best, and what does calibration do?

Method: the three readings (the forget set's present gradient; each fixed group's recorded update, scaled; every touched
batch's update, whole), each with and without calibration, patched only (dpus) and patched and fine-tuned (ohs), for one
sample, 0.1%, 1% and 5% at once. Beside them the retrained oracle, an oracle of another seed (how far two exact
retrainings are apart), and the control, which subtracts nothing. 8,000 samples of Fashion-MNIST, an MLP with one hidden
layer of 64, plain SGD, because every step's update is recorded for `batch`; three seeds; four minutes on two cores.
"""

from dataclasses import dataclass

from matplotlib.figure import Figure
from plots import legend, look, panels, with_spread
from rows import Rows, distinct, mean, where
from subjects import Subject, about, outcome, shuffled_ids, trained
from workbench import Options, experiment, map_concurrently

from raymu.benchmark.compare import (
    ComparisonSetup,
    Method,
    Requests,
    fine_tune_control,
    revoke_with,
    train_from_scratch,
)
from raymu.config.unlearning import Strategy

CONTRIBUTIONS = ("gradient", "group", "batch")
SHARES = {"1 sample": 0.0, "0.1%": 0.001, "1%": 0.01, "5%": 0.05}
SAMPLES = {"fashion-mnist": 8000}
ORACLE, OTHER_ORACLE, CONTROL = "oracle", "another oracle", "control"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    subject: Subject
    reading: str

    def __str__(self) -> str:
        return f"{self.subject}, {self.reading}"


def measure(options: Options) -> Rows:
    subjects = options.subjects(samples=SAMPLES)
    jobs = [Reading(subject=subject, reading=reading) for subject in subjects for reading in CONTRIBUTIONS]
    return map_concurrently(try_reading, jobs, options)


def try_reading(job: Reading) -> Rows:
    subject, reading = job.subject, job.reading
    groups = {"groups_per_slice": 4 if subject.is_smoke else 6} if reading == "group" else {}
    with trained(
        subject,
        model={"name": "mlp", "hidden": [64]},
        training={"optimizer": "sgd", "learning_rate": 0.1},
        unlearning={"contributions": reading, **groups},
    ) as bench:
        ids = shuffled_ids(bench)
        told = {**about(subject, bench), "reading": reading}
        rows: Rows = []
        for scenario, share in SHARES.items():
            requests = [ids[: max(1, round(share * len(ids)))]]
            rows += [{**told, "scenario": scenario, **row} for row in _try_request(bench, requests)]
        return rows


def _try_request(bench: ComparisonSetup, requests: Requests) -> Rows:
    oracle = train_from_scratch(bench, requests)
    baselines = {
        ORACLE: oracle,
        OTHER_ORACLE: train_from_scratch(bench, requests, seed=bench.config.partition.seed + 1000),
        CONTROL: fine_tune_control(bench, requests),
    }
    rows: Rows = [
        {"calibration": None, **outcome(trial, oracle.predictions), "method": name} for name, trial in baselines.items()
    ]
    for strategy in (Strategy.DPUS, Strategy.OHS):
        for calibration in (True, False):
            method = Method(name=strategy, strategy=strategy, unlearning={"calibration": calibration})
            trial = revoke_with(method, bench, requests)
            rows.append({"calibration": str(calibration), **outcome(trial, oracle.predictions)})
    return rows


def draw(rows: Rows) -> Figure:
    scenarios = distinct(rows, "scenario")
    at = list(range(len(scenarios)))
    columns = {
        "accuracy_lost": ("test accuracy lost, points", 100.0),
        "forget_distance": ("distance on the forget set", 1.0),
    }
    figure, axes = panels(2, 2, width=4.6)
    for place, (strategy, (column, (label, scale))) in enumerate(
        (strategy, one) for strategy in ("dpus", "ohs") for one in columns.items()
    ):
        one = axes[place]
        for position, reading in enumerate(CONTRIBUTIONS):
            for calibration, dashes in (("True", "-"), ("False", "--")):
                tried = where(rows, reading=reading, method=strategy, calibration=calibration)
                groups = [where(tried, scenario=scenario) for scenario in scenarios]
                text = f"{reading}{'' if calibration == 'True' else ', not calibrated'}"
                how = look(reading, position) | {"ls": dashes, "label": text}
                with_spread(one, at, groups, column, scale=scale, **how)
        for baseline, colour in ((ORACLE, "#000000"), (OTHER_ORACLE, "#8c8c8c"), (CONTROL, "#e69f00")):
            tried = where(rows, reading="gradient", method=baseline)
            level = [scale * mean(where(tried, scenario=scenario), column) for scenario in scenarios]
            one.plot(at, level, ":", color=colour, lw=1.2, label=baseline)
        one.set_xticks(at, scenarios)
        one.set_title("patched only (dpus)" if strategy == "dpus" else "patched and fine-tuned (ohs)")
        one.set_ylabel(label)
    for one in axes[2:]:
        one.set_xlabel("samples revoked")
    legend(figure, axes)
    return figure


if __name__ == "__main__":
    experiment("contributions", __doc__, measure, {"contributions": draw}, data=("fashion-mnist",))
