"""How long does each command take, and each phase of a training?

Method: commands on a run of the letter data (8 shards of 5 slices, 12 epochs), each in a process of its own, several times in
turns: wall and CPU seconds, as medians. What a command starts besides, such as Ray's processes, counts in its wall seconds
alone. A first turn, which fills the page cache, is left out. Revocations of one sample are retrained: in the command's own
process, with Ray already up, and with Ray started by the command. The phases of a training are those that `--json` prints.
`raymu/core/fleet_choice.py` has the seconds of Ray's start that the choice of a fleet counts with: they are the phases
"starting Ray", "starting the coordinator" and "waiting for the first stage" of the trainings on Ray, without those of one in
this process. What is neither training nor the start of Ray and of the coordinator is a share of the training's wall seconds.
The load of the machine is kept with the result: wall seconds mean little where others compute.

Conclusion: commands that compute nothing answer in the time that their imports take, and so does most of a revocation in the
command's own process. On Ray, most of a command is the start of Ray and of its actors, which `fleet: auto` saves. What a
training in this process takes besides is imports, the reading of its table and the writing of its samples.
"""

import argparse
import json
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from experiments.harness import ROOT, Experiment, document_parser, write_document
from experiments.setups import BUNDLED, BUNDLED_NAME, DATA_SETS, data_file

RAYMU = (sys.executable, "-m", "raymu.cli")
READING: Mapping[str, tuple[str, ...]] = {
    "--version": ("--version",),
    "status": ("status", "{run}"),
    "plan": ("plan", "{run}", "--id", "{id}"),
    "receipts": ("receipts", "{run}"),
    "report": ("report", "{run}", "--out", "{run}-report.html"),
}
COMPUTING: Mapping[str, tuple[str, ...]] = {
    "evaluate": ("evaluate", "{run}", "--test-data", str(data_file(BUNDLED_NAME, "test", ROOT / "data"))),
    "revoke": ("revoke", "{run}", "--id", "{id}", "--strategy", "sisa"),
    "settle": ("settle", "{run}"),
}
ON_RAY: Mapping[str, tuple[str, ...]] = {"revoke": COMPUTING["revoke"]}


def settings_of(name: str, folder: Path, *, hidden: int = 128, epochs: int = 12, fleet: str = "auto") -> dict[str, Any]:
    """Return settings of 8 shards of 5 slices of a data set, whose other files lie in a folder."""
    return {
        "data": {
            "train": str(data_file(name, "train", folder)),
            "test": str(data_file(name, "test", folder)),
            "classes": DATA_SETS[name].classes,
            "normalize": DATA_SETS[name].normalize,
        },
        "model": {"name": "mlp", "hidden": [hidden]},
        "training": {"epochs": epochs, "optimizer": "sgd", "learning_rate": 0.05, "batch_size": 128},
        "partition": {"shards": 8, "slices": 5, "seed": 7},
        "unlearning": {"strategy": "sisa"},
        "cluster": {"fleet": fleet},
    }


def timed(words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> tuple[float, float, str]:
    """Run a program. Returns its wall seconds, its CPU seconds and its standard output. If it fails, so does this one."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        words,
        cwd=folder,
        env={**quiet_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return wall_s, cpu_s, done.stdout


def quiet_environment() -> dict[str, str]:
    """Return the environment of a program with one thread, raymu's modules of this folder, and no cluster that is up."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAYMU_LOG")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAYMU_TRUST": "all"}


def load() -> list[float]:
    """Return the mean number of programs that wanted a core, over 1, 5 and 15 minutes."""
    return [round(mean, 2) for mean in os.getloadavg()]


class Turns:
    """Runs commands on a run, each with an id that was not revoked."""

    def __init__(self, folder: Path, run: str, environment: Mapping[str, str] | None = None) -> None:
        """Name the run in a folder."""
        self._folder, self._run, self._environment, self._next = folder, run, environment, 0

    def measure(self, commands: Mapping[str, tuple[str, ...]], *, turns: int) -> dict[str, dict[str, float]]:
        """Return the median seconds of each command over some turns, after one that is not counted."""
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _turn in range(turns + 1):
            for name, words in commands.items():
                self._next += 1
                filled = [word.format(run=self._run, id=17 * self._next) for word in words]
                wall_s, cpu_s, _ = timed((*RAYMU, *filled), self._folder, self._environment)
                seconds[name].append((wall_s, cpu_s))
        return {
            name: {
                "wall_s": round(median(wall_s for wall_s, _ in measured[1:]), 2),
                "cpu_s": round(median(cpu_s for _, cpu_s in measured[1:]), 2),
            }
            for name, measured in seconds.items()
        }


def train(folder: Path, name: str, settings: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Any:
    """Train a run as a command. Returns its wall and CPU seconds, its compute seconds, and those of its phases."""
    (folder / f"{name}.yaml").write_text(json.dumps(settings), encoding="utf-8")
    wall_s, cpu_s, printed = timed((*RAYMU, "train", f"{name}.yaml", name, "--json"), folder, environment)
    document = json.loads(printed)
    phases = document["phases"]
    started_s = sum(phases.get(phase, 0.0) for phase in ("starting Ray", "starting the coordinator"))
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "compute_s": round(document["compute_seconds"], 2),
        "fleet": document["fleet"],
        "phases": {phase: round(seconds, 2) for phase, seconds in phases.items()},
        "imports_s": round(wall_s - sum(phases.values()), 2),
        "neither_training_nor_ray": round((wall_s - started_s - phases.get("training", 0.0)) / wall_s, 2),
    }


@contextmanager
def ray_up(folder: Path) -> Iterator[dict[str, str]]:
    """Start a Ray cluster of its own on this machine. Yields the variables by which commands find it."""
    port = "6397"
    own_folder = tempfile.mkdtemp(
        prefix="ray-", dir="/tmp"
    )  # short, for sockets; other programs do not find the cluster
    variables = {
        "RAY_TMPDIR": own_folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # of this cluster alone
    }
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = subprocess.Popen(
        [*ray, "start", "--head", "--block", f"--port={port}", "--include-dashboard=false", "--num-cpus=2"],
        cwd=folder,
        env={**quiet_environment(), **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(15.0)
        yield {**variables, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        head.terminate()
        head.wait()
        shutil.rmtree(own_folder, ignore_errors=True)


def measure(data: Sequence[str], data_folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Measure all. Returns the result."""
    turns, epochs = (1, 3) if is_smoke else (5, 12)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {"load_before": load(), "turns": turns, "trainings": {}}
        for data_set in data:
            for fleet in ("local", "ray"):
                settings = settings_of(data_set, data_folder, epochs=epochs, fleet=fleet)
                result["trainings"][f"{data_set}, {fleet}"] = train(folder, f"{data_set}-{fleet}", settings)
        train(folder, "auto", settings_of(BUNDLED_NAME, BUNDLED, epochs=epochs))
        result["commands"] = Turns(folder, "auto").measure({**READING, **COMPUTING}, turns=turns)
        result["ray_started"] = Turns(folder, f"{BUNDLED_NAME}-ray").measure(ON_RAY, turns=max(1, turns // 2))
        with ray_up(folder) as variables:
            result["ray_up"] = Turns(folder, "auto", variables).measure(
                {"revoke": ("revoke", "{run}", "--id", "1{id}", "--strategy", "sisa")}, turns=max(1, turns // 2)
            )
        return {**result, "load_after": load()}


def summary(result: Mapping[str, Any]) -> str:
    commands = result["commands"]
    reading = ", ".join(f"{name} {commands[name]['wall_s']:.1f} s" for name in READING)
    own, up, started = (result[place]["revoke"]["wall_s"] for place in ("commands", "ray_up", "ray_started"))
    others = "; ".join(
        f"{name}: {training['wall_s']:.1f} s, of which {training['phases'].get('training', 0.0):.1f} s train and "
        f"{training['neither_training_nor_ray']:.0%} is neither training nor the start of Ray"
        for name, training in result["trainings"].items()
    )
    return (
        f"{reading}; revoking one sample {own:.1f} s in this process, {up:.1f} s with Ray up, {started:.1f} s with Ray "
        f"started; training, {others}; load of the machine {result['load_before'][0]:.1f} before and "
        f"{result['load_after'][0]:.1f} after"
    )


EXPERIMENT = Experiment(name="commands", doc=__doc__, results=("commands.json",), summary=summary)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --data and --data-folder."""
    parser.add_argument("--data", nargs="+", default=["letter", "fashion-mnist"], choices=tuple(DATA_SETS))
    parser.add_argument("--data-folder", type=Path, default=ROOT / "data", help="has NAME-train.parquet of other data")


def main() -> None:
    parser = document_parser(EXPERIMENT)
    add_options(parser)
    arguments = parser.parse_args()
    result = measure(arguments.data, arguments.data_folder.absolute(), is_smoke=arguments.smoke)
    write_document(EXPERIMENT.results[0], result, is_smoke=arguments.smoke)
    print(summary(result), file=sys.stderr)


if __name__ == "__main__":
    main()
