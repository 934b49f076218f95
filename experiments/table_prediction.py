"""What does predicting a table of any length take: memory, and time in one process and on Ray?

Method: tables of 16 float32 features, up to ten million rows, and a run of 8 MLPs of 16-256-26. `raymu predict`, which
writes the probabilities of all classes, and `raymu evaluate`, which computes ROC AUC too: each command is a process of its
own, on one thread, and peak memory is its own. Then a table is predicted in one process and by the actors of a Ray cluster
that is started for it, in turn, and the two files are compared. Seconds of Ray run to the last row, with and without the
seconds until the first row is there. The machine has two cores, which had other work.

Conclusion: from a hundred thousand rows on, predicting takes nearly the same memory for any number of them, most of it
PyTorch's and Arrow's. Evaluating keeps what ROC AUC needs, one float for each row and class, and takes about three times that
while it is computed. Ray gives the same file. On two busy cores it does not pay: its start alone takes longer than a million
rows of these models, and its actors share the cores with the process that writes.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.made_up_samples import write_made_up
from experiments.plots import legend, logarithmic_x, look, panels
from experiments.prediction import CASES, train_ensemble

ROWS, SMOKE_ROWS = (1_000, 100_000, 1_000_000, 10_000_000), (1_000, 20_000)
MOST_EVALUATED = 1_000_000
PART, CLASSES, MODELS = 500_000, 26, 8
_MEASURED = """
import json, re, sys, time
from contextlib import redirect_stdout
from pathlib import Path
from raymu.cli import run_command
began = time.perf_counter()
with redirect_stdout(None):
    code, line = run_command(sys.argv[1:])
assert code == 0, line
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": time.process_time(), "peak_mb": int(peak[1]) / 1e3}))
"""
_BESIDE = """
import json, sys, time
from functools import partial
import raymu
from raymu.backends import LocalBackend, RayBackend
from raymu.service.served_ensemble import ServedEnsemble
from raymu.service.table_prediction import predict_table, rows_to_predict
_, where, location, data, out = sys.argv
run = raymu.open_run(location)
backend = RayBackend(location, run.cluster) if where == "Ray" else LocalBackend(location)
rows, began, times = rows_to_predict(run._store, data), time.perf_counter(), []
predict_table(run._store, ServedEnsemble(run._store), rows, out, partial(backend.predict, rows), labels_only=False,
              check=lambda: None, progress=lambda done, _all: times.append(time.perf_counter() - began))
print(json.dumps({"seconds": time.perf_counter() - began, "first_s": times[0]}))
"""


def measure(options: Options) -> list[Row]:
    counts = SMOKE_ROWS if options.is_smoke else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with train_ensemble(CASES["mlp"], MODELS, folder) as run:
            location = run.location
        return list(_measure(counts, location, folder))


def _measure(counts: Sequence[int], location: str, folder: Path) -> Iterator[Row]:
    out = str(folder / "out.parquet")
    for rows in counts:
        table = str(folder / f"{rows}.parquet")
        write_made_up(Path(table), rows, features=CASES["mlp"]["shape"][0], classes=CLASSES, part=PART)
        yield {"what": "predict", "rows": rows, **_run(_MEASURED, "predict", location, "--data", table, "--out", out)}
        if rows <= MOST_EVALUATED:
            yield {"what": "evaluate", "rows": rows, **_run(_MEASURED, "evaluate", location, "--test-data", table)}
    rows = max(count for count in counts if count <= MOST_EVALUATED)
    digests = set()
    for where in ("one process", "Ray"):
        yield {"what": where, "rows": rows, **_run(_BESIDE, where, location, str(folder / f"{rows}.parquet"), out)}
        digests.add(hashlib.sha256(Path(out).read_bytes()).hexdigest())
    assert len(digests) == 1, "Ray has other bits"


def _run(program: str, *arguments: str) -> Row:
    """Run a program in a process of its own, and return what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *arguments]
    output = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout
    measured: Row = json.loads(output.splitlines()[-1])
    return measured


def summary(rows: pd.DataFrame) -> str:
    predicted = rows[rows["what"] == "predict"].set_index("rows")
    memory = ", ".join(f"{predicted.loc[count, 'peak_mb']:.0f} MB for {count:,} rows" for count in predicted.index)
    evaluated = rows[rows["what"] == "evaluate"].iloc[-1]
    alone, on_ray = (rows[rows["what"] == where].iloc[0] for where in ("one process", "Ray"))
    after_start = (on_ray["seconds"] - on_ray["first_s"]) / (alone["seconds"] - alone["first_s"])
    return (
        f"predict takes {memory}; evaluate {evaluated['peak_mb']:.0f} MB for {evaluated['rows']:,} rows; Ray takes "
        f"{on_ray['seconds'] / alone['seconds']:.1f}x one process's time for {alone['rows']:,} rows, and {after_start:.2f}x "
        "after the first rows, with the same file"
    )


def draw(rows: pd.DataFrame) -> Figure:
    figure, [axis] = panels(1, 1, width=4.2)
    for index, what in enumerate(("predict", "evaluate")):
        part = rows[rows["what"] == what]
        axis.plot(part["rows"], part["peak_mb"], label=f"raymu {what}", **look("", index))
    logarithmic_x(axis, tuple(sorted(set(rows["rows"]))))
    axis.set_ylim(0)
    axis.set_xlabel("rows")
    axis.set_ylabel("peak memory, MB")
    legend(figure, [axis])
    return figure


EXPERIMENT = Experiment(
    name="table_prediction",
    doc=__doc__,
    results=("table_prediction.csv",),
    summary=summary,
    figures={"table_prediction": draw},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
