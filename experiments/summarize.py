"""Writes the experiments' numbers into the documents, between markers such as `<!-- results: aims -->`.

Run `python -m experiments.summarize` after an experiment. A test compares the documents with what this script would write.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.harness import EXPERIMENTS, RESULTS, ROOT, Experiment, Result, read_result
from experiments.markdown import median_ratio, points, ratio, table, times

TOGETHER = (
    "remedies",
    "strategies",
    "partitions",
    "boundary",
    "contributions",
    "fine_tuning",
    "parts_of_models",
    "forgetting_time",
    "when_not_to_shard",
    "traffic",
    "tuning",
    "forecast",
    "two_snapshots",
    "throughput",
    "task_throughput",
    "scaling",
    "many_shards",
    "opening",
    "sample_lookup",
    "prediction",
    "table_prediction",
    "ingest",
    "large_run",
)
"""Scripts that `run_all` runs."""
ATTACKS = ("fault_injection", "command_kills", "service_kills")
"""Scripts that try to break raymu."""
SEPARATE = (
    *ATTACKS,
    "acknowledgement_throughput",
    "audit_power",
    "lira_agreement",
    "curvature_agreement",
    "klom_agreement",
    "capacity",
    "lanes",
    "commands",
    "beside_sisa",
    "beside_torchunlearn",
    "serving",
    "serving_on_ray",
    "webhooks",
    "storage_under_load",
)
"""Scripts with options of their own."""

_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)

ACCURACY_AIM, COMPUTE_AIM, WORK_AIM, SPEEDUP_AIM = 0.5, 0.05, 8.0, 1.8
"""Points lost; share of exact retraining's compute; times less work than sisa; times one worker's throughput."""

Read = Callable[[str], Result]
"""Reads a result by the name of its file."""


def load(names: Iterable[str]) -> list[Experiment]:
    """Import scripts by name, and return their experiments."""
    return [import_module(f"experiments.{name}").EXPERIMENT for name in names]


def read_kept(name: str) -> Result:
    """Read a result from `results/`."""
    return read_result(RESULTS / name)


def documents() -> list[Path]:
    """Return all documents that have markers."""
    paths = (path for folder in (ROOT, ROOT / "docs", EXPERIMENTS, ROOT / "cluster") for path in folder.glob("*.md"))
    return sorted(path for path in paths if _BLOCK.search(path.read_text(encoding="utf-8")))


def with_results(text: str, read: Read = read_kept) -> str:
    """Return a document with the text between all markers written anew."""
    tables = _tables(read)
    return _BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]()}\n{block[3]}", text)


def without_results(text: str) -> str:
    """Return the part of a document that is written by hand."""
    return _BLOCK.sub("", text)


def _tables(read: Read) -> Mapping[str, Callable[[], str]]:
    """Return the functions that write each table, by the name in its markers."""
    tables: dict[str, Callable[[], str]] = {
        "aims": lambda: aims_table(read),
        "questions": lambda: _caveat(read, TOGETHER) + questions_table(load(TOGETHER), read),
        "documents": lambda: questions_table(load(SEPARATE), read),
        "attacks": lambda: questions_table(load(ATTACKS), read, folder="../experiments/"),
        "circumstances": lambda: circumstances_table(read("runs.csv")),
    }
    for experiment in load((*TOGETHER, *SEPARATE)):
        for name, write in experiment.tables.items():
            tables[name] = partial(_write_table, write, experiment.results, read)
    return tables


def _write_table(write: Callable[..., str], results: tuple[str, ...], read: Read) -> str:
    return write(*map(read, results))


def questions_table(experiments: Iterable[Experiment], read: Read, *, folder: str = "") -> str:
    """Write question, command, result and conclusion of each experiment. folder: where they lie, seen from the document"""
    lines = []
    for experiment in experiments:
        files = [f"[{name.rpartition('.')[2]}]({folder}results/{name})" for name in experiment.results]
        files += [f"[figure]({folder}figures/{name}.png)" for name in experiment.figures]
        summary = experiment.summary(*map(read, experiment.results))
        command = f"`python -m experiments.{experiment.name}`"
        lines.append([experiment.question, command, f"{summary} ({', '.join(files)})", experiment.conclusion])
    return table(["question", "command", "result", "conclusion"], lines, numbers_from=4)


def aims_table(read: Read) -> str:
    """Write what was to be shown, and what was measured."""
    strategies = read("strategies.csv").query("data == 'fashion-mnist' and model == 'mlp'")
    lines = [
        *_aims_at_once(strategies, read("fine_tuning.csv")),
        *_aims_one_by_one(strategies),
        _aim_of_scaling(read("scaling.csv")),
    ]
    header = ["aim", "measured: mean of the seeds (minimum to maximum)", ""]
    return _caveat(read, ("strategies", "fine_tuning", "scaling")) + table(header, lines, numbers_from=3)


def _aims_at_once(strategies: pd.DataFrame, fine_tuning: pd.DataFrame) -> Iterator[list[str]]:
    configured = strategies.query("scenario == '1%' and method == 'ohs'")
    shorter = fine_tuning[fine_tuning["method"] == "ohs, 2"]
    seconds, passes = (1.0 / ratio(strategies, "1%", "ohs", "from scratch", column) for column in ("seconds", "passes"))
    for setting, rows, share_of_seconds, share_of_passes in (
        ("default settings", configured, seconds, passes),
        ("`ohs: {epochs: 2}`", shorter, shorter["share_of_seconds"].mean(), shorter["share_of_passes"].mean()),
    ):
        lost = rows["accuracy_lost"]
        yield [
            f"ohs within {ACCURACY_AIM} points of exact retraining at {COMPUTE_AIM:.0%} of its compute or less; "
            f"Fashion-MNIST, 1% revoked; {setting}",
            f"{points(lost)} points lost at {share_of_seconds:.1%} of the compute in seconds, {share_of_passes:.1%} in "
            "sample passes",
            _reached(100.0 * lost.mean() <= ACCURACY_AIM and share_of_seconds <= COMPUTE_AIM),
        ]


def _aims_one_by_one(strategies: pd.DataFrame) -> Iterator[list[str]]:
    for method in ("hs", "ohs"):
        lost = strategies.query("scenario == '20 singles' and method == @method")["accuracy_lost"]
        work = ratio(strategies, "20 singles", method, "sisa", "passes")
        yield [
            f"{method} at least {WORK_AIM:g}x less work than sisa at no more than {ACCURACY_AIM} points lost; "
            "Fashion-MNIST, 20 single requests",
            f"{times(work)} less work, {points(lost)} points lost",
            _reached(100.0 * lost.mean() <= ACCURACY_AIM and work >= WORK_AIM),
        ]


def _aim_of_scaling(scaling: pd.DataFrame) -> list[str]:
    weak = scaling[scaling["scaling"] == "weak"]["speedup"]
    return [
        f"two workers train at least {SPEEDUP_AIM}x as many samples a second, on twice the shards, as one worker (weak "
        "scaling); Fashion-MNIST",
        f"{median_ratio(weak)}, median of the turns",
        _reached(weak.median() >= SPEEDUP_AIM),
    ]


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def circumstances_table(runs: pd.DataFrame) -> str:
    """Write the size, duration and machine of each run."""
    lines = [
        [run["experiment"], run["size"], f"{run['seconds'] / 60:.1f}", run["data"], _machine(run)]
        for run in runs.to_dict("records")
    ]
    return table(["experiment", "size", "minutes", "data sets", "machine"], lines, numbers_from=5)


def _machine(run: Mapping[str, Any]) -> str:
    return (
        f"{run['cores']} cores ({run['processor']}), Python {run['python']}, PyTorch {run['torch']}, Ray {run['ray']}"
    )


def _caveat(read: Read, names: Iterable[str]) -> str:
    """Warn above a table if some of its numbers are from smoke runs."""
    sizes = read("runs.csv").set_index("experiment")["size"]
    small = [name for name in names if sizes[name] != "full"]
    return f"**Not the full experiment, but a smoke run: {', '.join(small)}.**\n\n" if small else ""


def main() -> None:
    for path in documents():
        path.write_text(with_results(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
