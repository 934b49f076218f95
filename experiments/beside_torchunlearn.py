"""How near do raymu's remedies come to the retrained oracle beside torchunlearn's methods, on the same models?

Method: one shard is trained with eight seeds, and each model forgets 1% of its samples: by raymu's remedies, and by eight
methods of torchunlearn (github.com/Harry24k/machine-unlearning-pytorch, which is no part of this project). These have the
settings of its README: five epochs at a constant rate of 0.01 with momentum, batches of 128. All start from the same weights,
and are measured on the same samples by the same ruler as in `remedies`. *Exact* is the shard retrained without the samples,
*other seed* the distance between such oracles of different seeds, *untouched* does nothing, and *control* is raymu's
fine-tuning that subtracts nothing. Seconds are processor time of one thread, as shares of the exact retraining. torchunlearn
is not a dependency: install it in a separate environment, and give that environment's Python. Its settings were made for deep
networks on CIFAR; nothing was tuned, neither there nor in raymu. It takes five minutes.

Conclusion: on these small models a patch by curvature, and the replay after it, come nearer to the retrained model than
torchunlearn's methods as its README sets them. Fine-tuning changes little there, and methods that push a small forget set
away push it far beyond the retrained model, since their loader repeats that set for every batch of the others.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.special import logsumexp

from experiments.commands import load
from experiments.harness import (
    EXPERIMENTS,
    SMOKE,
    Experiment,
    Options,
    Row,
    document_parser,
    draw_figures,
    write_document,
)
from experiments.markdown import table
from experiments.one_shard import CPU, Confidences, OneShard, ShardModel, one_shard
from experiments.plots import baseline, legend, panels
from experiments.remedies import CONTROL, EXACT, METHODS, OTHER, TITLES, UNTOUCHED, rows_of
from experiments.setups import Setup
from raymu.core.arrays import Floats
from raymu.core.records import Cost
from raymu.data.rows import Rows
from raymu.data.stored_rows import StoredRows
from raymu.plots import LOOKS
from raymu.training.classifier import Classifier

SHARE, SEEDS, DATA = 0.01, 8, ("letter", "fashion-mnist")
OURS = ("dpus", "ohs")
NOT_THEIRS = (EXACT, OTHER, UNTOUCHED, CONTROL, *OURS)
"""What every comparison carries, and raymu's remedies, in the order of the table."""
KEPT = (
    "data",
    "model",
    "models",
    "samples",
    "forgotten",
    "method",
    "forget_distance",
    "distance_deviation",
    "distance_ratio",
    "lira_value",
    "test_distance",
    "accuracy",
    "accuracy_lost",
    "accuracy_lost_deviation",
    "seconds",
    "share_of_seconds",
)
"""Columns of the ruler that are kept."""
SCRIPT = Path(__file__).with_name("torchunlearn_methods.py")


def measure(setup: Setup, python: str, *, seeds: int) -> tuple[list[Row], str]:
    """Measure every method on the models of some seeds. Returns a row for each method, and torchunlearn's version."""
    shard = one_shard(setup)
    is_forgotten = shard.forgotten(max(4, round(SHARE * len(shard.samples))))
    rows: list[Row] = []
    for seed in range(seeds):
        before = shard.train(seed)
        models = {
            UNTOUCHED: ShardModel(payload=before.payload, cost=Cost(passes=0.0, seconds=0.0)),
            CONTROL: shard.control(before, seed, is_forgotten),
            EXACT: shard.retrain(before, seed, is_forgotten),
            OTHER: shard.train(seeds + seed, shard.samples.where(~is_forgotten)),
        } | {name: shard.repair(before, seed, [is_forgotten], METHODS[name]) for name in OURS}
        measured = {
            name: (shard.confidences(model, is_forgotten), model.cost.seconds, model.cost.passes)
            for name, model in models.items()
        }
        theirs, version = with_torchunlearn(shard, before, is_forgotten, seed=seed, python=python)
        reference, own = theirs.pop(UNTOUCHED)[0], measured[UNTOUCHED][0]
        assert np.allclose(reference.forget, own.forget, atol=1e-2), "torchunlearn starts from another model"
        measured |= {name: (kept, seconds, np.nan) for name, (kept, seconds) in theirs.items()}
        rows += [
            {
                "seed": seed,
                "method": name,
                "confidences": kept,
                "seconds": seconds,
                "passes": passes,
                "samples": len(shard.samples),
                "forgotten": int(is_forgotten.sum()),
                "relearning_steps": None,
                "retrained": 0,
            }
            for name, (kept, seconds, passes) in measured.items()
        ]
    columns = {"data": setup.data, "model": setup.model, "scenario": f"{SHARE:.0%}"}
    summarized = pd.DataFrame(list(rows_of(columns, pd.DataFrame(rows))))[list(KEPT)]
    kept: list[Row] = summarized.astype(object).where(summarized.notna(), None).to_dict("records")
    return kept, version


def with_torchunlearn(
    shard: OneShard, before: ShardModel, is_forgotten: np.ndarray, *, seed: int, python: str
) -> tuple[dict[str, tuple[Confidences, float]], str]:
    """Run torchunlearn's methods on a model.

    Returns:
        The confidences and the processor seconds of each method, and of the model as it was; torchunlearn's version.
    """
    classifier = Classifier.restore(
        before.payload, shard.with_seed(seed), device=CPU, source="the model before the request"
    )
    tested = shard.test
    parts = [shard.samples.where(is_forgotten), shard.measured_retained, shard.measured_test, tested]
    layers = [module for module in classifier.model.modules() if isinstance(module, torch.nn.Linear)]
    work: dict[str, Any] = {
        "inputs": _inputs(classifier, shard.samples.features),
        "labels": np.asarray(shard.samples.labels, dtype=np.int64),
        "is_forgotten": is_forgotten,
        "measured": np.concatenate([_inputs(classifier, part.features) for part in parts]),
        "seed": np.array(seed),
    }
    for number, layer in enumerate(layers):
        work |= {f"weight-{number}": layer.weight.detach().numpy(), f"bias-{number}": layer.bias.detach().numpy()}
    with tempfile.TemporaryDirectory() as folder:
        given, returned = Path(folder) / "work.npz", Path(folder) / "result.npz"
        np.savez(given, **work)
        words = [python, str(SCRIPT), str(given), str(returned)]
        ended = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=False)
        if ended.returncode:
            sys.exit(f"{SCRIPT.name} failed in the environment of {python}:\n{ended.stderr[-2000:]}")
        result = dict(np.load(returned))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    measured = {}
    for key, outputs in result.items():
        if not key.startswith("outputs-"):
            continue
        name = key.removeprefix("outputs-")
        forget, retained, test, whole = np.split(outputs.astype(np.float64), ends)
        kept = Confidences(
            forget=_log_odds(forget, parts[0].labels),
            retained=_log_odds(retained, parts[1].labels),
            test=_log_odds(test, parts[2].labels),
            accuracy=float((whole.argmax(axis=1) == tested.labels).mean()),
        )
        measured[name] = (kept, float(result[f"seconds-{name}"]))
    return measured, str(result["version"])


def _inputs(classifier: Classifier, features: Rows | StoredRows) -> Floats:
    """Return what the model is given for these samples: (samples, inputs) float32."""
    given: list[torch.Tensor] = []
    hook = classifier.model.register_forward_pre_hook(lambda _module, arguments: given.append(arguments[0].flatten(1)))
    deque(classifier.outputs(features), maxlen=0)
    hook.remove()
    inputs: Floats = torch.cat(given).numpy()
    return inputs


def _log_odds(outputs: Floats, labels: Any) -> Floats:
    """Return log(p / (1 - p)) of the true class from outputs, (samples,) float64."""
    rows = np.arange(len(outputs))
    others = outputs.copy()
    others[rows, labels] = -np.inf
    odds: Floats = outputs[rows, labels] - logsumexp(others, axis=1)
    return odds


def _methods(rows: pd.DataFrame) -> Iterator[str]:
    """Return the names of the methods: what every comparison carries, raymu's, and torchunlearn's."""
    yield from NOT_THEIRS
    yield from (name for name in rows["method"].unique() if name not in NOT_THEIRS)


def _rows(result: Mapping[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(result["rows"])


def summary(result: Mapping[str, Any]) -> str:
    cells = []
    for data, measured in _rows(result).groupby("data", sort=False):
        ratios = measured.set_index("method")["distance_ratio"]
        theirs = ratios.drop(list(NOT_THEIRS))
        cells.append(
            f"{data}: distance as a multiple of the floor: dpus {ratios['dpus']:.2f}, ohs {ratios['ohs']:.2f}, untouched "
            f"{ratios[UNTOUCHED]:.2f}, nearest of torchunlearn {theirs.min():.2f} ({theirs.idxmin()})"
        )
    return f"{'; '.join(cells)} (torchunlearn {result['torchunlearn']})"


def comparison_table(result: Mapping[str, Any]) -> str:
    """Write distance, accuracy and cost of each method on both data sets."""
    rows, lines = _rows(result), []
    sets = list(rows["data"].unique())
    for method in _methods(rows):
        cells = [method if method in NOT_THEIRS else f"torchunlearn: {method}"]
        for data in sets:
            row = rows[(rows["data"] == data) & (rows["method"] == method)].iloc[0]
            if pd.isna(row["forget_distance"]):
                cells += ["diverged", "", "", "", f"{100.0 * row['share_of_seconds']:.0f}"]
                continue
            cells += [
                f"{row['forget_distance']:.3f} ± {row['distance_deviation']:.3f}",
                f"{row['distance_ratio']:.2f}",
                f"{row['lira_value']:.2f}",
                f"{round(100.0 * row['accuracy_lost'], 2) + 0.0:+.2f} ± {100.0 * row['accuracy_lost_deviation']:.2f}",
                f"{100.0 * row['share_of_seconds']:.0f}",
            ]
        lines.append(cells)
    columns = ("distance", "x floor", "U-LiRA", "points lost", "seconds, %")
    return table(["", *(f"{TITLES[data]}: {column}" for data in sets for column in columns)], lines)


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the distance of every method from the retrained model, on both data sets."""
    rows = _rows(result)
    sets = list(rows["data"].unique())
    names = [name for name in _methods(rows) if name not in (EXACT, OTHER)]
    figure, axes = panels(1, len(sets), width=4.6, height=3.6, sharey=True)
    for panel, data in zip(axes, sets, strict=True):
        by_method = rows.query("data == @data").set_index("method")
        for place, name in enumerate(names):
            row, is_ours = by_method.loc[name], name in LOOKS
            if pd.isna(row["forget_distance"]):
                panel.annotate("diverged", (0.0, place), (8, 0), textcoords="offset points", va="center")
                continue
            panel.barh(
                place,
                row["forget_distance"],
                xerr=row["distance_deviation"],
                height=0.65,
                color=LOOKS[name].colour if is_ours else "#bbbbbb",
                hatch=None if is_ours else "///",
                edgecolor="white",
                error_kw={"lw": 1.0, "capsize": 2.0},
            )
        floor = by_method.loc[OTHER, "forget_distance"]
        panel.axvline(floor, lw=1.2, **baseline(OTHER), label="floor: an oracle of another seed")
        panel.set_title(f"{TITLES[data]}, 1% of a shard revoked", loc="left")
        panel.set_xlabel("distance on the forget set")
        panel.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(names)), [name if name in LOOKS else f"torchunlearn: {name}" for name in names])
    axes[0].invert_yaxis()
    legend(figure, axes)
    return figure


EXPERIMENT = Experiment(
    name="beside_torchunlearn",
    doc=__doc__,
    results=("beside_torchunlearn.json",),
    summary=summary,
    figures={"beside_torchunlearn": draw},
    tables={"beside_torchunlearn": comparison_table},
)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("python", help="the Python of an environment that has torchunlearn")
    parser.add_argument("--data", nargs="+", metavar="NAME", default=DATA, help=f"default: {' '.join(DATA)}")
    parser.add_argument("--data-folder", type=Path, default=Path("data"), metavar="DIR")
    arguments: argparse.Namespace = parser.parse_args()
    options = Options(data=tuple(arguments.data), folder=arguments.data_folder, is_smoke=arguments.smoke, jobs=1)
    before, rows, version = load(), [], ""
    for setup in options.setups(seeds=1):
        measured, version = measure(setup, arguments.python, seeds=3 if arguments.smoke else SEEDS)
        rows += measured
    result = {"load_before": before, "torchunlearn": version, "rows": rows, "load_after": load()}
    write_document(EXPERIMENT.results[0], result, is_smoke=arguments.smoke)
    draw_figures(EXPERIMENT, SMOKE if arguments.smoke else EXPERIMENTS)
    print(summary(result), file=sys.stderr)


if __name__ == "__main__":
    main()
