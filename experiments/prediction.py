"""How fast are predictions beside the same modules by hand: one row, and many?

Method: ensembles of 8 and 100 constituents of made-up samples, an MLP of 16-256-26 and a small CNN. For each,
`Run.predict` and the average of the same modules' probabilities by hand, called one after another or stacked
(`torch.func.stack_module_state` with `vmap`, and batched matrix products for the MLP), in turns on one thread: one row, and
many rows in batches of 1,024. Seconds are those of the CPU, since the machine had other work. By hand, rows are standardised
as each module was trained, and the journal is not asked.

Conclusion: a row costs about what the same modules cost by hand, and less where small models are evaluated together; asking
the journal takes microseconds. Many rows take no longer than the stacked modules, with the bits of the single ones: layers
are called one after another over memory that is used again. A row of a hundred small convolutional models costs more than
stacked, since a stacked convolution of one row has other bits.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.plots import legend, logarithmic_y, look, panels
from raymu.api import Run
from raymu.config import Config
from raymu.new_run import train

CASES: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"name": "mlp", "args": {"hidden": [256]}}, "shape": (16,), "classes": 26},
    "cnn": {"model": {"name": "cnn", "args": {"channels": [8, 16], "hidden": 32}}, "shape": (1, 14, 14), "classes": 10},
}
CONSTITUENTS, SMOKE_CONSTITUENTS = (8, 100), (3,)
MANY = {("mlp", 8): 1_000_000, ("mlp", 100): 20_000, ("cnn", 8): 5_000, ("cnn", 100): 1_000}
SMOKE_ROWS, SAMPLES, BATCH, SINGLES = 2_000, 20, 1_024, 200
WAYS = {
    "raymu": "Run.predict",
    "one by one": "modules by hand",
    "vmap": "stacked by hand (vmap)",
    "bmm": "stacked by hand (products)",
}


def measure(options: Options) -> list[Row]:
    counts = SMOKE_CONSTITUENTS if options.is_smoke else CONSTITUENTS
    return [row for model in CASES for count in counts for row in _measure(model, count, is_smoke=options.is_smoke)]


def _measure(model: str, constituents: int, *, is_smoke: bool) -> Iterator[Row]:
    case = CASES[model]
    with tempfile.TemporaryDirectory() as folder, train_ensemble(case, constituents, Path(folder)) as run:
        random = np.random.default_rng(1)
        rows = SMOKE_ROWS if is_smoke else MANY[model, constituents]
        one, many = (random.normal(size=(size, *case["shape"])).astype(np.float32) for size in (1, rows))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            predictors = ways(run)
            for way, predict in predictors.items():
                np.testing.assert_allclose(predict(many[:BATCH]), run.predict(many[:BATCH]), atol=1e-5, err_msg=way)
            facts = {"model": model, "constituents": constituents}
            for way, seconds in _single_times(predictors, one, 20 if is_smoke else SINGLES).items():
                p99 = float(np.quantile(seconds, 0.99))
                yield {**facts, "way": way, "rows": 1, "seconds": statistics.median(seconds), "p99_s": p99}
            for way, predict in predictors.items():
                started = time.process_time()
                predict(many)
                yield {**facts, "way": way, "rows": rows, "seconds": time.process_time() - started, "p99_s": None}
        finally:
            torch.set_num_threads(threads)


def _single_times(predictors: dict[str, Callable[..., Any]], row: Any, turns: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {way: [] for way in predictors}
    for turn in range(turns):
        for way, predict in predictors.items():
            started = time.process_time()
            predict(row)
            if turn >= turns // 10:
                times[way].append(time.process_time() - started)
    return times


def train_ensemble(case: dict[str, Any], shards: int, folder: Path) -> Run:
    """Train a run of made-up samples, with one constituent a shard."""
    random, count = np.random.default_rng(0), shards * SAMPLES
    values = pa.FixedSizeListArray.from_arrays(
        pa.array(random.normal(size=count * int(np.prod(case["shape"]))).astype(np.float32)),
        int(np.prod(case["shape"])),
    )
    tensors = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), case["shape"]), values)
    labels = random.integers(case["classes"], size=count)
    pq.write_table(pa.table({"id": np.arange(count), "features": tensors, "label": labels}), folder / "samples.parquet")
    tree = {
        "data": {"train": str(folder / "samples.parquet"), "classes": case["classes"]},
        "model": case["model"],
        "training": {"epochs": 1, "device": "cpu"},
        "partition": {"shards": shards, "slices": 1},
        "unlearning": {"strategy": "sisa"},
        "cluster": {"fleet": "local"},
    }
    return train(Config.parse(tree), folder / "run")


def ways(run: Run) -> dict[str, Callable[[Any], Any]]:
    """Return the ways to predict an array of rows, by their names."""
    constituents: Any = list(run.module().constituents)
    modules: list[nn.Module] = [part.model for part in constituents]
    fitted = [part.named_state() for part in constituents]
    means, scales = [state["task.mean"] for state in fitted], [state["task.scale"] for state in fitted]
    limit = float(fitted[0]["task.limit"])
    mean, scale = torch.stack(means).unsqueeze(1), torch.stack(scales).unsqueeze(1)

    def one_by_one(rows: Tensor) -> Tensor:
        normalised = (
            ((rows - mean).mul_(scale)).clamp_(-limit, limit) for mean, scale in zip(means, scales, strict=True)
        )
        votes = (module(part).softmax(1) for module, part in zip(modules, normalised, strict=True))
        return sum(votes, torch.zeros(())) / len(modules)

    parameters, buffers = stack_module_state(modules)
    skeleton = deepcopy(modules[0]).to("meta")

    def of_one(own_parameters: Any, own_buffers: Any, rows: Tensor) -> Tensor:
        outputs: Tensor = functional_call(skeleton, (own_parameters, own_buffers), (rows,))
        return outputs

    together = torch.func.vmap(of_one)

    def by_vmap(rows: Tensor) -> Tensor:
        normalised = (rows - mean).mul_(scale).clamp_(-limit, limit)
        return together(parameters, buffers, normalised).softmax(-1).mean(0)

    weights = [parameters[f"{number}.weight"].transpose(1, 2) for number in (1, 3) if f"{number}.weight" in parameters]
    biases = [parameters[f"{number}.bias"].unsqueeze(1) for number in (1, 3) if f"{number}.bias" in parameters]

    def by_products(rows: Tensor) -> Tensor:
        hidden = torch.baddbmm(biases[0], (rows - mean).mul_(scale).clamp_(-limit, limit), weights[0]).relu_()
        return torch.baddbmm(biases[1], hidden, weights[1]).softmax(-1).mean(0)

    by_hand: dict[str, Callable[[Tensor], Tensor]] = {"one by one": one_by_one, "vmap": by_vmap}
    if len(weights) == 2 and weights[0].dim() == 3:
        by_hand["bmm"] = by_products
    return {"raymu": run.predict, **{way: _in_batches(predict) for way, predict in by_hand.items()}}


def _in_batches(predict: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    def of_all(rows: Any) -> Any:
        with torch.no_grad():
            return torch.cat([predict(part) for part in torch.from_numpy(rows).split(BATCH)]).numpy()

    return of_all


def summary(rows: pd.DataFrame) -> str:
    parts = []
    for (model, constituents), case in rows.groupby(["model", "constituents"], sort=False):
        one, many = case[case["rows"] == 1].set_index("way"), case[case["rows"] > 1].set_index("way")
        stacked = many["seconds"].drop(["raymu", "one by one"]).min()
        count = int(many["rows"].iloc[0])
        parts.append(
            f"{constituents} {str(model).upper()}s: a row takes {1000 * one['seconds']['raymu']:.2f} ms "
            f"(99 of 100 within {1000 * one['p99_s']['raymu']:.2f} ms), "
            f"{one['seconds']['raymu'] / one['seconds']['one by one']:.2f}x the modules by hand; {count:,} rows take "
            f"{many['seconds']['raymu'] / many['seconds']['one by one']:.2f}x the modules by hand, and "
            f"{many['seconds']['raymu'] / stacked:.2f}x the stacked ones"
        )
    return "; ".join(parts)


def draw(rows: pd.DataFrame) -> Figure:
    figure, axes = panels(1, 2, width=4.2)
    cases = list(dict.fromkeys(zip(rows["model"], rows["constituents"], strict=True)))
    for panel, is_one in zip(axes, (True, False), strict=True):
        part = rows[(rows["rows"] == 1) == is_one]
        for index, (way, label) in enumerate(WAYS.items()):
            chosen = part[part["way"] == way].set_index(["model", "constituents"])
            places = [number for number, case in enumerate(cases) if case in chosen.index]
            seconds = [chosen.loc[cases[number], "seconds"] / chosen.loc[cases[number], "rows"] for number in places]
            panel.plot(places, 1e3 * np.array(seconds), ls="", label=label, **look("", index))
        panel.set_xticks(range(len(cases)), [f"{count} {str(model).upper()}s" for model, count in cases], rotation=20)
        panel.set_ylabel("one row, ms" if is_one else "a row of many, ms of CPU")
        logarithmic_y(panel)
    legend(figure, [axes[0]])
    return figure


EXPERIMENT = Experiment(
    name="prediction", doc=__doc__, results=("prediction.csv",), summary=summary, figures={"prediction": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
