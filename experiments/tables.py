"""The numbers in the READMEs: writes each table anew, from the results, between its markers.

`python experiments/tables.py` after an experiment; the unit tests compare the READMEs with what it would write.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from document_findings import DOCUMENT_FINDINGS
from findings import BULK, FINDINGS, SINGLES
from rows import Row, Rows, distinct, mean, read_rows, where
from wording import less, percent, points, table, times

ROOT = Path(__file__).parent.parent
READMES = (ROOT / "README.md", ROOT / "experiments" / "README.md")
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)

ACCURACY_AIM, COMPUTE_AIM, WORK_AIM = 0.5, 0.05, 8.0
"""Points lost; share of exact retraining's compute; times less work than sisa."""

Results = Callable[[str], Rows]
"""The rows of an experiment, by its name."""


def headline(results: Results) -> str:
    """Every method on Fashion-MNIST: what it costs and how near to exact retraining it comes."""
    rows = where(results("strategies"), data="fashion-mnist", model="mlp")
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
    rows = results("strategies")
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
    rows = where(results("strategies"), data="fashion-mnist", model="mlp")
    bulk = where(rows, scenario=BULK, method="ohs")
    share = 1.0 / less(rows, BULK, "ohs", "from scratch", "seconds")
    passes = 1.0 / less(rows, BULK, "ohs", "from scratch", "passes")
    shorter = where(results("fine_tuning"), method="ohs, 2")
    lines = [
        [
            f"ohs within {ACCURACY_AIM} points of exact retraining at {COMPUTE_AIM:.0%} of its compute or less; "
            f"Fashion-MNIST, 1% revoked; {setting}",
            f"{points(found)} points lost at {seconds:.1%} of the compute in seconds, {in_passes:.1%} in sample passes",
            _verdict(100.0 * mean(found, "accuracy_lost") <= ACCURACY_AIM and seconds <= COMPUTE_AIM),
        ]
        for setting, found, seconds, in_passes in (
            ("as it is configured", bulk, share, passes),
            ("`ohs: {epochs: 2}`", shorter, mean(shorter, "share_of_seconds"), mean(shorter, "share_of_passes")),
        )
    ]
    for method in ("hs", "ohs"):
        found = where(rows, scenario=SINGLES, method=method)
        ratio = less(rows, SINGLES, method, "sisa", "passes")
        is_reached = 100.0 * mean(found, "accuracy_lost") <= ACCURACY_AIM and ratio >= WORK_AIM
        lines.append(
            [
                f"{method} at least {WORK_AIM:g}x less work than sisa at no more than {ACCURACY_AIM} points lost; "
                "Fashion-MNIST, 20 single requests",
                f"{times(ratio)} less work, {points(found)} points lost",
                _verdict(is_reached),
            ]
        )
    return table(["aim", "measured: mean of the seeds (least to greatest)", ""], lines, numbers_from=3)


def questions(results: Results) -> str:
    """Question, command, result, and what it shows."""
    lines = []
    for one in FINDINGS:
        files = [f"[csv](results/{one.experiment}.csv)", *(f"[figure](figures/{name}.png)" for name in one.figures)]
        result = f"{one.result(results(one.experiment))} ({', '.join(files)})"
        lines.append([one.question, f"`experiments/{one.experiment}.py`", result, one.shows])
    header = ["question", "command", "result", "what it shows"]
    return _caveat(results, (one.experiment for one in FINDINGS)) + table(header, lines, numbers_from=4)


def documents(_results: Results) -> str:
    """As `questions`, of the experiments whose result is a JSON document."""
    lines = []
    for one in DOCUMENT_FINDINGS:
        files = ", ".join(f"[json](results/{name}.json)" for name in one.documents)
        lines.append([one.question, f"`experiments/{one.script}.py`", f"{one.sentence} ({files})", one.shows])
    return table(["question", "command", "result", "what it shows"], lines, numbers_from=4)


def circumstances(results: Results) -> str:
    """Of every experiment: in which size it ran, for how long, and where."""
    runs = results("runs")
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
    sizes = {run["experiment"]: run["size"] for run in results("runs")}
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


def kept(name: str) -> Rows:
    """What an experiment found, as it lies in results/."""
    return read_rows(ROOT / "experiments" / "results" / f"{name}.csv")


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
