"""The numbers in the READMEs: writes each table anew, from the results, between its markers.

`python experiments/tables.py` after an experiment; the unit tests compare the READMEs with what it would write.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from findings import FINDINGS, Finding
from rows import Row, column, distinct, mean, read_rows, where
from sentences import BULK, SINGLES
from wording import less, percent, points, speedup, table, times

ROOT = Path(__file__).parent.parent
READMES = (ROOT / "README.md", ROOT / "experiments" / "README.md")
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)

ACCURACY_AIM, COMPUTE_AIM, WORK_AIM, SPEEDUP_AIM = 0.5, 0.05, 8.0, 1.8
"""Points lost; share of exact retraining's compute; times less work than sisa; times one worker's throughput."""

Results = Callable[[str], Any]
"""What an experiment found, by the name of its file: rows, or a document."""


def headline(results: Results) -> str:
    """Every method on Fashion-MNIST: what it costs and how near to exact retraining it comes."""
    rows = where(results("strategies.csv"), data="fashion-mnist", model="mlp")
    lines = []
    for method in distinct(rows, "method"):
        cells = [method]
        for scenario in (BULK, SINGLES):
            found = where(rows, method=method, scenario=scenario)
            cells += [percent(found, "test_accuracy"), times(less(rows, scenario, method, "sisa", "passes"))]
            cells += [f"{mean(found, 'forget_distance'):.3f}"]
        lines.append(cells)
    header = ["", *(f"{scenario}: {what}" for scenario in ("1% at once", "20 singles") for what in _HEADLINE)]
    return _caveat(results, ["strategies"]) + table(header, lines)


_HEADLINE = ("test, %", "less work than sisa", "distance")


def strategies(results: Results) -> str:
    """Points lost against exact retraining, and times less work than sisa, for every data set and model."""
    rows = results("strategies.csv")
    methods = [method for method in distinct(rows, "method") if method not in ("sisa", "from scratch")]
    lines = []
    for model in distinct(rows, "model"):
        for data in distinct(where(rows, model=model), "data"):
            of_subject = where(rows, data=data, model=model)
            for scenario in distinct(of_subject, "scenario"):
                exact = where(of_subject, scenario=scenario, method="from scratch")
                cells = [f"{data}, {model.upper()}", scenario, percent(exact, "test_accuracy")]
                for method in methods:
                    lost = 100.0 * mean(where(of_subject, scenario=scenario, method=method), "accuracy_lost")
                    cells.append(f"{lost:+.2f} / {times(less(of_subject, scenario, method, 'sisa', 'passes'))}")
                lines.append(cells)
    return table(["", "revoked", "exact, %", *methods], lines, numbers_from=2)


def aims(results: Results) -> str:
    """What was to be shown, and what was measured."""
    lines = [*_aims_at_once(results), *_aims_one_by_one(results), _aim_of_scaling(results)]
    header = ["aim", "measured: mean of the seeds (least to greatest)", ""]
    return _caveat(results, ("strategies", "fine_tuning", "scaling")) + table(header, lines, numbers_from=3)


def _aims_at_once(results: Results) -> Iterator[list[str]]:
    rows = where(results("strategies.csv"), data="fashion-mnist", model="mlp")
    share = 1.0 / less(rows, BULK, "ohs", "from scratch", "seconds")
    passes = 1.0 / less(rows, BULK, "ohs", "from scratch", "passes")
    shorter = where(results("fine_tuning.csv"), method="ohs, 2")
    for setting, found, seconds, in_passes in (
        ("as it is configured", where(rows, scenario=BULK, method="ohs"), share, passes),
        ("`ohs: {epochs: 2}`", shorter, mean(shorter, "share_of_seconds"), mean(shorter, "share_of_passes")),
    ):
        yield [
            f"ohs within {ACCURACY_AIM} points of exact retraining at {COMPUTE_AIM:.0%} of its compute or less; "
            f"Fashion-MNIST, 1% revoked; {setting}",
            f"{points(found)} points lost at {seconds:.1%} of the compute in seconds, {in_passes:.1%} in sample passes",
            _verdict(100.0 * mean(found, "accuracy_lost") <= ACCURACY_AIM and seconds <= COMPUTE_AIM),
        ]


def _aims_one_by_one(results: Results) -> Iterator[list[str]]:
    rows = where(results("strategies.csv"), data="fashion-mnist", model="mlp")
    for method in ("hs", "ohs"):
        found = where(rows, scenario=SINGLES, method=method)
        ratio = less(rows, SINGLES, method, "sisa", "passes")
        yield [
            f"{method} at least {WORK_AIM:g}x less work than sisa at no more than {ACCURACY_AIM} points lost; "
            "Fashion-MNIST, 20 single requests",
            f"{times(ratio)} less work, {points(found)} points lost",
            _verdict(100.0 * mean(found, "accuracy_lost") <= ACCURACY_AIM and ratio >= WORK_AIM),
        ]


def _aim_of_scaling(results: Results) -> list[str]:
    weak = where(results("scaling.csv"), scaling="weak")
    return [
        f"two workers train at least {SPEEDUP_AIM}x as many samples a second, on twice the shards, as one worker (weak "
        "scaling); Fashion-MNIST",
        f"{speedup(weak)}, median of the turns",
        _verdict(median(column(weak, "speedup")) >= SPEEDUP_AIM),
    ]


def questions(results: Results) -> str:
    """Of the experiments that run together, those whose results are rows."""
    asked = [one for one in FINDINGS if not one.documents]
    return _caveat(results, (one.script for one in asked)) + _answers(asked, results)


def documents(results: Results) -> str:
    """Of the others."""
    return _answers([one for one in FINDINGS if one.documents], results)


def _answers(findings: Sequence[Finding], results: Results) -> str:
    """Question, command, result, and what it shows."""
    lines = []
    for one in findings:
        files = [f"[{name.rpartition('.')[2]}](results/{name})" for name in one.results]
        files += [f"[figure](figures/{name}.png)" for name in one.figures]
        said = one.says(*(results(name) for name in one.results))
        lines.append([one.question, f"`experiments/{one.script}.py`", f"{said} ({', '.join(files)})", one.shows])
    return table(["question", "command", "result", "what it shows"], lines, numbers_from=4)


def circumstances(results: Results) -> str:
    """Of every experiment: in which size it ran, for how long, and where."""
    runs = results("runs.csv")
    lines = [
        [str(run["experiment"]), str(run["size"]), f"{run['seconds'] / 60:.1f}", str(run["data"]), _machine(run)]
        for run in runs
    ]
    header = ["experiment", "size", "minutes", "data sets", "machine"]
    return table(header, lines, numbers_from=5)


def _machine(run: Row) -> str:
    return (
        f"{run['cores']} cores ({run['processor']}), Python {run['python']}, PyTorch {run['torch']}, Ray {run['ray']}"
    )


def _caveat(results: Results, names: Iterable[str]) -> str:
    """Said above a table as long as its numbers are not those of the full experiments."""
    sizes = {run["experiment"]: run["size"] for run in results("runs.csv")}
    small = [name for name in names if sizes[name] != "full"]
    return f"**Not the full experiment, but a small run to try it: {', '.join(small)}.**\n\n" if small else ""


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


TABLES: Mapping[str, Callable[[Results], str]] = {
    "headline": headline,
    "aims": aims,
    "questions": questions,
    "documents": documents,
    "strategies": strategies,
    "circumstances": circumstances,
}


def kept(name: str) -> Any:
    """What an experiment found, as it lies in results/."""
    path = ROOT / "experiments" / "results" / name
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else read_rows(path)


def with_tables(text: str, results: Results = kept) -> str:
    """The text, with every block written anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]](results)}\n{block[3]}", text)


def without_tables(text: str) -> str:
    """The text that is written by hand."""
    return _BLOCK.sub("", text)


def main() -> None:
    for readme in READMES:
        readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
