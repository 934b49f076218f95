"""What every experiment does: take its options, measure side by side, keep the result, draw it."""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from data_sets import BUNDLED_NAME, ROOT, missing_file
from matplotlib.figure import Figure
from plots import save, style
from rows import Row, Rows, read_rows, write_rows
from subjects import Subject

Job = TypeVar("Job")
Draw = Callable[[Rows], Figure]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """data: names of the data sets; jobs: how many processes measure side by side; out: where results and figures go"""

    data: tuple[str, ...]
    folder: Path
    is_smoke: bool
    jobs: int
    out: Path

    def subjects(
        self, *, seeds: int = 3, model: str = "mlp", samples: Mapping[str, int] | None = None
    ) -> list[Subject]:
        """Every data set with every seed; a smoke run has one. samples: of each data set, all where none is given"""
        return [
            Subject(
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


def experiment(
    name: str,
    question: str | None,
    measure: Callable[[Options], Rows],
    figures: Mapping[str, Draw],
    *,
    data: Sequence[str] = (BUNDLED_NAME,),
) -> None:
    """Measure and draw, or only draw. question: the script's docstring; data: sets that it is about by default"""
    asked = _parser(question).parse_args()
    out = asked.out or (ROOT / "build" / "smoke" if asked.smoke else ROOT / "experiments")
    result = out / "results" / f"{name}.csv"
    if not asked.draw:
        options = Options(
            data=_chosen(asked, data), folder=asked.data_folder, is_smoke=asked.smoke, jobs=asked.jobs, out=out
        )
        started = time.perf_counter()
        write_rows(measure(options), result)
        _note(out / "results" / "runs.csv", _circumstances(name, options, time.perf_counter() - started))
    with style():
        for figure, draw in figures.items():
            save(draw(read_rows(result)), out / "figures", figure)
    print(f"{name}: {result}", file=sys.stderr)


def map_concurrently(job: Callable[[Job], Rows], jobs: Sequence[Job], options: Options) -> Rows:
    """One single-threaded process per job, as many at a time as the options say. returns: all rows, in the jobs' order"""
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: Rows = []
    with ProcessPoolExecutor(
        options.jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        started = time.perf_counter()
        for one, found in zip(jobs, pool.map(job, jobs), strict=True):
            rows += found
            print(f"{one}: there after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return rows


def _parser(question: str | None) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=question, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--smoke", action="store_true", help="a small run, to see that it works; kept in build/smoke")
    options.add_argument(
        "--draw", action="store_true", help="only draw the figures again, from the result that is there"
    )
    options.add_argument("--data", nargs="+", metavar="NAME", help="these data sets instead of the usual ones")
    options.add_argument(
        "--data-folder",
        type=Path,
        default=ROOT / "data",
        metavar="DIR",
        help="holds NAME-train.parquet and NAME-test.parquet (default: %(default)s); letter comes with raymu",
    )
    options.add_argument(
        "--jobs", type=int, default=2, help="processes that measure side by side (default: %(default)s)"
    )
    options.add_argument("--out", type=Path, metavar="DIR", help="where results/ and figures/ go")
    return options


def _chosen(asked: argparse.Namespace, usual: Sequence[str]) -> tuple[str, ...]:
    """The data sets to measure on. A smoke run makes do with those that are there."""
    names = tuple(asked.data or usual)
    missing = {name: file for name in names if (file := missing_file(name, asked.data_folder))}
    if asked.smoke and not asked.data:
        return tuple(name for name in names if name not in missing) or (BUNDLED_NAME,)
    if missing:
        name, file = next(iter(missing.items()))
        print(f"{file} is not there; import {name}, or name --data-folder or other --data", file=sys.stderr)
        raise SystemExit(2)
    return names


def _circumstances(name: str, options: Options, seconds: float) -> Row:
    return {
        "experiment": name,
        "size": "smoke" if options.is_smoke else "full",
        "seconds": seconds,
        "data": " ".join(options.data),
        "cores": os.cpu_count(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "ray": version("ray"),
    }


def _note(path: Path, row: Row) -> None:
    """Keep under which circumstances a result came about, in place of an earlier one."""
    others = [one for one in (read_rows(path) if path.exists() else []) if one["experiment"] != row["experiment"]]
    write_rows(sorted([*others, row], key=lambda one: str(one["experiment"])), path)
