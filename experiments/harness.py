"""What every experiment does: read its options, measure side by side, keep the result and draw it."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from matplotlib.figure import Figure

from experiments.plots import style
from experiments.setups import BUNDLED_NAME, DATA_SETS, Setup, missing_file

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
RESULTS = EXPERIMENTS / "results"
SMOKE = ROOT / "build" / "smoke"

Row = dict[str, Any]
"""One measurement: column -> text, number, or None."""
Result = Any
"""A result as it is kept: a `DataFrame` of a CSV file, a dictionary of a JSON file."""
Job = TypeVar("Job")


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A question, where its results lie, and how they are summarized and drawn."""

    name: str
    """The script's name."""
    doc: str | None
    """The script's docstring: the question in one line, the method, and a paragraph that begins with "Conclusion:"."""
    results: tuple[str, ...]
    """Files in `results/`."""
    summary: Callable[..., str]
    """Writes one sentence with numbers. It takes the results, in order."""
    figures: Mapping[str, Callable[..., Figure]] = field(default_factory=dict)
    """Name in `figures/` -> the function that draws it. It takes the first result."""
    tables: Mapping[str, Callable[..., str]] = field(default_factory=dict)
    """Name in a document's markers -> the function that writes that table. It takes the results, in order."""

    @property
    def question(self) -> str:
        return (self.doc or "").partition("\n")[0]

    @property
    def conclusion(self) -> str:
        text = " ".join((self.doc or "").partition("Conclusion:")[2].split())
        return text[:1].upper() + text[1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of an experiment."""

    data: tuple[str, ...]
    """Names of data sets."""
    folder: Path
    """Where the data sets lie that are not bundled."""
    is_smoke: bool
    jobs: int
    """Number of processes that measure side by side."""

    def setups(self, *, seeds: int = 3, model: str = "mlp", samples: Mapping[str, int] | None = None) -> list[Setup]:
        """Return every data set with every seed; only one seed in a smoke run.

        Args:
            seeds: Number of seeds.
            model: A key of `setups.MODELS`.
            samples: Data set -> number of training samples. All samples of data sets that are not named.
        """
        return [
            Setup(
                data=name,
                folder=self.folder,
                is_smoke=self.is_smoke,
                model=model,
                seed=seed,
                samples=(samples or {}).get(name),
            )
            for name in self.data
            for seed in range(1 if self.is_smoke else seeds)
        ]


def run_experiment(
    experiment: Experiment, measure: Callable[[Options], list[Row]], *, data: Sequence[str] = (BUNDLED_NAME,)
) -> None:
    """Measure, keep the rows as CSV and draw the figures. `data` names the usual data sets."""
    arguments = _parser(experiment).parse_args()
    out = arguments.out or (SMOKE if arguments.smoke else EXPERIMENTS)
    path = out / "results" / experiment.results[0]
    if not arguments.draw:
        options = Options(
            data=_available(arguments, data),
            folder=arguments.data_folder,
            is_smoke=arguments.smoke,
            jobs=arguments.jobs,
        )
        started = time.perf_counter()
        write_rows(measure(options), path)
        _note_run(experiment.name, options, time.perf_counter() - started, path.with_name("runs.csv"))
    draw_figures(experiment, out)
    rows = read_result(path)
    print(f"{experiment.question}\n{experiment.summary(rows)}\n{path}", file=sys.stderr)


def draw_figures(experiment: Experiment, out: Path) -> None:
    """Draw the figures of an experiment from its kept result. out: where results/ and figures/ are"""
    result = read_result(out / "results" / experiment.results[0])
    (out / "figures").mkdir(exist_ok=True)
    with style():
        for name, draw in experiment.figures.items():
            draw(result).savefig(out / "figures" / f"{name}.png", dpi=160)


def map_concurrently(measure: Callable[[Job], list[Row]], jobs: Sequence[Job], options: Options) -> list[Row]:
    """Measure each job in a single-threaded process of a pool. Returns all rows, in the order of the jobs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: list[Row] = []
    with ProcessPoolExecutor(
        options.jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        started = time.perf_counter()
        for job, job_rows in zip(jobs, pool.map(measure, jobs), strict=True):
            rows += job_rows
            print(f"{job}: done after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return rows


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write measurements as CSV, with nine significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).convert_dtypes().to_csv(path, index=False, float_format="%.9g")


def read_result(path: Path) -> Result:
    """Read a result file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else pd.read_csv(path)


def write_document(name: str, document: Mapping[str, Any], *, is_smoke: bool) -> None:
    """Print a result and keep it as JSON, with the machine that it was measured on."""
    folder = (SMOKE if is_smoke else EXPERIMENTS) / "results"
    text = json.dumps({"machine": _machine(), **document}, indent=2)
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def document_parser(experiment: Experiment) -> argparse.ArgumentParser:
    """Return a parser with the options of every experiment that keeps JSON."""
    parser = argparse.ArgumentParser(description=experiment.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a small run, to see that it works; kept in build/smoke")
    return parser


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add --data for one data set, and --data-folder."""
    parser.add_argument("--data", default=BUNDLED_NAME, choices=tuple(DATA_SETS), help="default: %(default)s")
    _add_data_folder(parser)


def _add_data_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-folder",
        type=Path,
        default=ROOT / "data",
        metavar="DIR",
        help="has NAME-train.parquet and NAME-test.parquet (default: %(default)s); letter is bundled with raymu",
    )


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = document_parser(experiment)
    parser.add_argument("--draw", action="store_true", help="only draw the figures again, from the kept result")
    parser.add_argument("--data", nargs="+", metavar="NAME", help="these data sets instead of the usual ones")
    _add_data_folder(parser)
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes that measure side by side (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results/ and figures/ are written")
    return parser


def _available(arguments: argparse.Namespace, usual: Sequence[str]) -> tuple[str, ...]:
    """Return the data sets to measure on. A smoke run without --data takes those that are available."""
    names = tuple(arguments.data or usual)
    missing = {name: file for name in names if (file := missing_file(name, arguments.data_folder))}
    if arguments.smoke and not arguments.data:
        return tuple(name for name in names if name not in missing) or (BUNDLED_NAME,)
    if missing:
        name, file = next(iter(missing.items()))
        print(f"{file} is missing; import {name}, or give --data-folder or other --data", file=sys.stderr)
        raise SystemExit(2)
    return names


def _note_run(name: str, options: Options, seconds: float, path: Path) -> None:
    """Keep the circumstances of a run, in place of those of an earlier run of the same experiment."""
    row = {
        "experiment": name,
        "size": "smoke" if options.is_smoke else "full",
        "seconds": seconds,
        "data": " ".join(options.data),
        "cores": os.cpu_count(),
        **_machine(),
        "python": platform.python_version(),
        "ray": version("ray"),
    }
    earlier = read_result(path).to_dict("records") if path.exists() else []
    others = [other for other in earlier if other["experiment"] != name]
    write_rows(sorted([*others, row], key=lambda each: str(each["experiment"])), path)


def _machine() -> dict[str, str]:
    return {
        "processor": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "torch": version("torch"),
    }
