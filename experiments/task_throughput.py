"""How fast is each task beside a plain PyTorch loop, and how much memory does it take?

Method: a shard worker trains one shard of two slices, with checkpoints and everything else that raymu does. A plain loop
makes as many sample passes with the same model on the same samples, decoded in the same way: arrays, and columns of numbers
and categories, are one tensor of floats; pictures as arrays stay bytes until a batch is made; pictures as PNG files are
decoded and augmented by two threads, a few batches ahead; tokens are padded batch by batch. Each runs in a process of its
own with one thread for arithmetic, in turns, three times. The results are the ratios of samples per second, and of the peak
memory of the processes, with all that they import and without it. Made-up samples. Linux only. It takes ten minutes.

Conclusion: arrays and rows of tables reach nine tenths of the plain loop's speed. Augmented pictures are slower: the threads
also see to it that each picture has random numbers of its own, and each shard decodes its first slice once more. Tokens vary,
since the machine had other work, and do not reach it for certain. No task takes much more memory.
"""

import io
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.markdown import table
from experiments.plots import look, panels, spread_bars
from experiments.process_memory import peak_bytes, present_bytes
from raymu.config import Config, TaskName
from raymu.core.commands import TrainShard
from raymu.core.trust import EVERYTHING
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import TrainReport, TrainTask
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore
from raymu.training.libraries import import_library
from raymu.training.models import build_model
from raymu.training.optimizers import build_optimizer

TURNS, CLASSES, BATCH = 3, 8, 64
SPEED_AIM, MEMORY_AIM = 0.9, 1.3
AUGMENT: list[dict[str, Any]] = [
    {"name": "RandomHorizontalFlip"},
    {"name": "RandomCrop", "size": 32, "padding": 4},
    {"name": "ColorJitter", "brightness": 0.2},
]
TOKENS = 1000
MIXED_WIDTH = 8 + 4 * 34
"""Numbers that the task tabular makes of a sample: each category has room for values that are not there."""
Batches: TypeAlias = Callable[[Tensor], Iterator[Any]]
"""Makes the inputs of an epoch's batches. It is given the rows in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A task, its samples, and the plain loop that decodes in the same way."""

    samples: int
    epochs: int
    features: Callable[[np.random.Generator, int], dict[str, Any]]
    """Makes the columns of features."""
    settings: Mapping[str, Any]
    """Branches of the configuration."""
    batches: Callable[[pa.Table], Batches]
    input_shape: tuple[int, ...] = ()


def float_arrays(random: np.random.Generator, count: int) -> dict[str, Any]:
    return {"features": pa.FixedSizeListArray.from_arrays(pa.array(random.random(count * 784, np.float32)), 784)}


def byte_arrays(random: np.random.Generator, count: int) -> dict[str, Any]:
    pixels = random.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    return {"features": pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)}


def png_files(random: np.random.Generator, count: int) -> dict[str, Any]:
    image = import_library("PIL.Image", setting="task")
    files = []
    for coarse in random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8):
        file = io.BytesIO()
        image.fromarray(coarse).resize((32, 32), image.Resampling.BILINEAR).save(file, "PNG")
        files.append(file.getvalue())
    return {"features": pa.array(files)}


def mixed_columns(random: np.random.Generator, count: int) -> dict[str, Any]:
    numbers = {f"number_{index}": random.normal(size=count) for index in range(8)}
    words = np.array([f"word {index}" for index in range(10)])
    return numbers | {f"category_{index}": words[random.integers(0, 10, count)] for index in range(4)}


def token_lists(random: np.random.Generator, count: int) -> dict[str, Any]:
    lengths = random.integers(20, 60, count)
    return {"features": pa.array([random.integers(1, TOKENS, length).tolist() for length in lengths])}


class MeanOfTokens(nn.Module):
    """Two layers on the mean of the tokens' embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 64)
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, CLASSES))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[..., None].float()
        outputs: Tensor = self.layers((self.embedding(input_ids) * mask).sum(dim=1) / mask.sum(dim=1))
        return outputs


def build_mean_of_tokens() -> nn.Module:
    return MeanOfTokens()


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean(dim=0)) / values.std(dim=0)


def batches_of_floats(table: pa.Table) -> Batches:
    values = table["features"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    inputs = _standardised(torch.from_numpy(values.copy()))
    return lambda order: (inputs[rows] for rows in order.split(BATCH))


def batches_of_bytes(table: pa.Table) -> Batches:
    inputs = torch.from_numpy(table["features"].combine_chunks().to_numpy_ndarray().copy())
    return lambda order: (inputs[rows].float().sub_(128.0).mul_(1.0 / 74.0) for rows in order.split(BATCH))


def batches_of_files(table: pa.Table) -> Batches:
    image, v2 = (import_library(name, setting="task") for name in ("PIL.Image", "torchvision.transforms.v2"))
    kinds = [dict(transform) for transform in AUGMENT]
    augment = v2.Compose([getattr(v2, kind.pop("name"))(**kind) for kind in kinds])
    files = table["features"].combine_chunks()

    def load(rows: Tensor) -> Tensor:
        pictures = [np.asarray(image.open(io.BytesIO(files[row].as_py())).convert("RGB")) for row in rows.tolist()]
        return torch.stack([augment(torch.from_numpy(picture.copy()).permute(2, 0, 1)) for picture in pictures])

    def batches(order: Tensor) -> Iterator[Tensor]:
        with ThreadPoolExecutor(2) as pool:
            waiting = deque(pool.submit(load, rows) for rows in order.split(BATCH)[:4])
            for rows in order.split(BATCH)[4:]:
                yield waiting.popleft().result().float().sub_(128.0).mul_(1.0 / 74.0)
                waiting.append(pool.submit(load, rows))
            for future in waiting:
                yield future.result().float().sub_(128.0).mul_(1.0 / 74.0)

    return batches


def batches_of_columns(table: pa.Table) -> Batches:
    frame = table.drop_columns(["id", "label"]).to_pandas()
    spread = pd.get_dummies(frame, dtype=np.float32).to_numpy(dtype=np.float32)
    inputs = F.pad(_standardised(torch.from_numpy(spread)), (0, MIXED_WIDTH - spread.shape[1]))
    return lambda order: (inputs[rows] for rows in order.split(BATCH))


def batches_of_tokens(table: pa.Table) -> Batches:
    lists = [torch.from_numpy(np.array(tokens)) for tokens in table["features"].to_pylist()]

    def batches(order: Tensor) -> Iterator[dict[str, Tensor]]:
        for rows in order.split(BATCH):
            ids = pad_sequence([lists[row] for row in rows.tolist()], batch_first=True)
            yield {"input_ids": ids, "attention_mask": (ids > 0).long()}

    return batches


_CNN = {"model": {"name": "cnn", "channels": [8, 16], "hidden": 64}}
CASES: Mapping[str, Case] = {
    "image, PNG": Case(
        samples=2000,
        epochs=2,
        features=png_files,
        settings={"task": {"name": "image", "size": 32, "augment": AUGMENT}, "model": {"name": "cnn"}},
        batches=batches_of_files,
        input_shape=(3, 32, 32),
    ),
    "tensor, floats": Case(
        samples=20_000,
        epochs=3,
        features=float_arrays,
        settings={"model": {"name": "mlp", "hidden": [256]}},
        batches=batches_of_floats,
        input_shape=(784,),
    ),
    "tensor, bytes": Case(
        samples=4000, epochs=2, features=byte_arrays, settings=_CNN, batches=batches_of_bytes, input_shape=(1, 28, 28)
    ),
    "tabular": Case(
        samples=20_000,
        epochs=4,
        features=mixed_columns,
        settings={
            "task": {"name": "tabular"},
            "model": {"name": "mlp", "hidden": [256]},
            "data": {"features": [*(f"number_{i}" for i in range(8)), *(f"category_{i}" for i in range(4))]},
        },
        batches=batches_of_columns,
        input_shape=(MIXED_WIDTH,),
    ),
    "text, tokens": Case(
        samples=8000,
        epochs=4,
        features=token_lists,
        settings={"task": {"name": "text"}, "model": {"factory": f"{__name__}:build_mean_of_tokens"}},
        batches=batches_of_tokens,
    ),
}


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            config = _config(name, Path(folder), is_smoke=options.is_smoke)
            prepare_run(config, f"{folder}/run").write()
            for turn in range(1 if options.is_smoke else TURNS):
                with_raymu = _apart(train_with_raymu, f"{folder}/run")
                plainly = _apart(train_plainly, name, config, with_raymu.passes)
                print(f"{name}, turn {turn}: {with_raymu} {plainly}", file=sys.stderr)
                rows.append(
                    {
                        "task": name,
                        "turn": turn,
                        "samples_per_second": with_raymu.rate,
                        "plain_samples_per_second": plainly.rate,
                        "ratio": with_raymu.rate / plainly.rate,
                        "memory_mb": with_raymu.peak_mb,
                        "plain_memory_mb": plainly.peak_mb,
                        "memory_ratio": with_raymu.peak_mb / plainly.peak_mb,
                        "own_memory_mb": with_raymu.peak_mb - with_raymu.imports_mb,
                        "plain_own_memory_mb": plainly.peak_mb - plainly.imports_mb,
                    }
                )
    return rows


def _config(name: str, folder: Path, *, is_smoke: bool) -> Config:
    case = CASES[name]
    count, random = 640 if is_smoke else case.samples, np.random.default_rng(0)
    columns = {"id": np.arange(count), "label": random.integers(0, CLASSES, count), **case.features(random, count)}
    pq.write_table(pa.table(columns), folder / "samples.parquet")
    tree: dict[str, Any] = {
        "training": {"epochs": 2 if is_smoke else case.epochs, "batch_size": BATCH, "device": "cpu"},
        "partition": {"shards": 1, "slices": 2},
        "cluster": {"fleet": "local"},
        **case.settings,
    }
    tree["data"] = {"train": str(folder / "samples.parquet"), **case.settings.get("data", {})}
    return Config.parse(tree)


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The measures of one training."""

    passes: int
    """Sample passes."""
    seconds: float
    """From the first look at the samples on."""
    imports_mb: float
    """Memory of the process before that."""
    peak_mb: float = 0.0
    """The most memory that the process had."""

    @property
    def rate(self) -> float:
        return self.passes / self.seconds


def _apart(work: Callable[..., Training], *arguments: Any) -> Training:
    """Train in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        training = pool.submit(work, *arguments).result()
        return replace(training, peak_mb=pool.submit(peak_bytes).result() / 1e6)


def _import_everything(config: Config) -> None:
    """Import what both trainings import when they first need it: of PyTorch, the compiler, by building an optimizer."""
    build_optimizer(iter([nn.Parameter(torch.zeros(1))]), config.training)
    if config.task.name is TaskName.IMAGE:
        import_library("torchvision.transforms.v2", setting="task")


def train_with_raymu(location: str) -> Training:
    """Train the shard."""
    store = RunStore(location, trust=EVERYTHING)
    command = TrainTask(command=TrainShard(shard=0, table=store.manifest.tables[0]), term=0)
    store.reports.delete([command.command_id])  # otherwise the worker returns the report of the turn before
    _import_everything(store.config)
    worker, imports_mb = ShardWorker(store), present_bytes() / 1e6
    *_, report = worker.run(command)
    assert isinstance(report, TrainReport)
    return Training(passes=int(report.passes), seconds=report.seconds, imports_mb=imports_mb)


def train_plainly(name: str, config: Config, passes: int) -> Training:
    """Train for at least this many sample passes."""
    torch.set_num_threads(1)
    _import_everything(config)
    imports_mb, table = present_bytes() / 1e6, pq.read_table(config.data.train)
    labels, done = torch.from_numpy(table["label"].to_numpy().copy()), 0
    model = build_model(config.model, input_shape=CASES[name].input_shape, classes=CLASSES)
    optimizer = build_optimizer(model.parameters(), config.training)
    started = time.perf_counter()
    batches = CASES[name].batches(table)
    while done < passes:
        order = torch.randperm(len(labels))
        for inputs, targets in zip(batches(order), labels[order].split(BATCH), strict=True):
            optimizer.zero_grad(set_to_none=True)
            outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
            F.cross_entropy(outputs, targets).backward()
            optimizer.step()
        done += len(labels)
    return Training(passes=done, seconds=time.perf_counter() - started, imports_mb=imports_mb)


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for task, measured in rows.groupby("task", sort=False):
        speed, memory = measured["ratio"], measured["memory_ratio"]
        cells.append(
            f"{task}: {speed.median():.2f} ({speed.min():.2f} to {speed.max():.2f}) of the speed, {memory.median():.2f}x the "
            f"memory ({measured['own_memory_mb'].median():.0f} MB beside {measured['plain_own_memory_mb'].median():.0f} MB "
            "without imports)"
        )
    return f"against the plain loop, {'; '.join(cells)}"


def aims(rows: pd.DataFrame) -> str:
    """Write what each task reached of the aims."""
    lines = []
    for task, measured in rows.groupby("task", sort=False):
        speed, memory = measured["ratio"].median(), measured["memory_ratio"].median()
        is_reached = speed >= SPEED_AIM and memory <= MEMORY_AIM
        lines.append([str(task), f"{speed:.2f}", f"{memory:.2f}", "reached" if is_reached else "not reached"])
    return table(["task", "share of the speed, median", "times the memory, median", ""], lines, numbers_from=1)


def draw(rows: pd.DataFrame) -> Figure:
    figure, (speed, memory) = panels(1, 2, width=3.6)
    for axes, column, aim in ((speed, "ratio", SPEED_AIM), (memory, "memory_ratio", MEMORY_AIM)):
        ratios = rows.groupby("task", sort=False)[column].agg(["mean", "min", "max"])
        colours = [look("", index)["color"] for index in range(len(ratios))]
        axes.bar(range(len(ratios)), ratios["mean"], yerr=spread_bars(ratios), color=colours, capsize=3)
        axes.axhline(aim, color="black", lw=1.0, ls=":")
        axes.set_xticks(range(len(ratios)), ratios.index, rotation=25, ha="right")
        axes.grid(visible=False, axis="x")
    speed.set_ylabel("samples per second / plain loop's")
    memory.set_ylabel("peak memory / plain loop's")
    return figure


EXPERIMENT = Experiment(
    name="task_throughput",
    doc=__doc__,
    results=("task_throughput.csv",),
    summary=summary,
    figures={"task_throughput": draw},
    tables={"tasks": aims},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
