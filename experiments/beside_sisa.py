"""How fast are a training and ten revocations beside SISA's own code?

Method: the published code of Bourtoule et al. (github.com/cleverhans-lab/machine-unlearning, which is given as a folder or a
git directory and is no part of this project) and raymu train 8 shards of 5 slices with the same epochs, batches, rate and
widths of an MLP, and forget ten samples one after the other, in turns and in one run. SISA's scripts train each shard in a
process of its own, two at a time, as its examples do; a request retrains the shard of a sample, in another process. raymu
does the same as commands (`raymu train`, and `raymu revoke` ten times, each with a receipt, a journal and a purge) and in one
Python process. Both use one thread a process. SISA's requests are of samples at the same places of the shards as the hash of
raymu's ids gives on average: one in each slice, in turn. Checkpoints between the epochs of SISA are off. Everything that is
not training counts: reading the data, imports, writing. The load of the machine is kept with the result.

Conclusion: in one process raymu forgets much faster, since nothing is imported anew for each request. As commands it trains
faster and forgets no faster: each pays the import of PyTorch, as each of SISA's scripts does.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from experiments.commands import RAYMU, add_options, load, settings_of, timed
from experiments.harness import Experiment, document_parser, write_document

SHARDS, SLICES, REQUESTS, PROCESSES, HIDDEN = 8, 5, 10, 2, 128
"""The width is that of the architecture in SISA's repository."""
_FILES = ("sisa.py", "sharded.py", "architectures/purchase.py")
LOADER = """
import os
import numpy as np
arrays = np.load(os.path.join(os.path.dirname(os.path.realpath(__file__)), "arrays.npz"))
features, labels = arrays["features"], arrays["labels"]
def load(indices, category="train"):
    indices = np.asarray(indices, dtype=np.int64)
    return features[indices], labels[indices]
"""
IN_PYTHON = """
import json, sys, time
from raymu import Config, train
settings, folder, requests = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
if __name__ == "__main__":
    with train(Config.parse(settings), folder) as run:
        trained = time.time()
        for number in requests:
            run.revoke([number], strategy="sisa")
        print(json.dumps({"trained": trained, "revoked": time.time()}))
"""


def unpack(code: Path, folder: Path) -> None:
    """Put the files of SISA's code that train into a folder, from a folder or a git directory."""
    for name in _FILES:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (code / name).is_file():
            copy.write_bytes((code / name).read_bytes())
        else:
            words = ["git", "-C", str(code), "show", f"HEAD:{name}"]
            copy.write_bytes(subprocess.run(words, check=True, capture_output=True).stdout)


class Sisa:
    """A data set in the form of SISA's code, and its scripts."""

    def __init__(self, code: Path, data: str, data_folder: Path, folder: Path, *, epochs: int) -> None:
        """Write the data set, and unpack the code."""
        unpack(code, folder)
        settings = settings_of(data, data_folder)
        table = pq.read_table(settings["data"]["train"])
        features = np.stack([np.asarray(row, dtype=np.float32).ravel() for row in table["features"].to_pylist()])
        features = (features - features.mean()) / features.std()
        place = folder / "datasets" / data.replace("-", "_")
        place.mkdir(parents=True)
        np.savez(place / "arrays.npz", features=features, labels=np.asarray(table["label"].to_pylist(), dtype=np.int64))
        (place / "loader.py").write_text(LOADER, encoding="utf-8")
        facts = {"nb_train": len(features), "nb_test": 0, "input_shape": [features.shape[1]], "dataloader": "loader"}
        (place / "datasetfile").write_text(
            json.dumps({**facts, "nb_classes": settings["data"]["classes"]}), encoding="utf-8"
        )
        self._folder, self._epochs, self._samples = folder, epochs, len(features)
        self._dataset = str((place / "datasetfile").relative_to(folder))

    def measure(self, turn: int) -> dict[str, float]:
        """Train, and forget. Returns the seconds of both."""
        container = f"turn-{turn}"
        for name in ("cache", "times", "outputs"):
            (self._folder / "containers" / container / name).mkdir(parents=True)
        shards = np.empty(SHARDS, dtype=object)
        shards[:] = np.array_split(np.random.default_rng(turn).permutation(self._samples), SHARDS)
        np.save(self._folder / "containers" / container / "splitfile.npy", shards)
        forgotten = np.empty(SHARDS, dtype=object)
        forgotten[:] = [np.array([], dtype=np.int64) for _ in range(SHARDS)]
        self._save(container, "trained", forgotten)
        began_s = time.perf_counter()
        with ThreadPoolExecutor(PROCESSES) as pool:
            list(pool.map(partial(self._train, container, "trained"), range(SHARDS)))
        trained_s = time.perf_counter() - began_s
        began_s = time.perf_counter()
        for request in range(REQUESTS):
            shard = request % SHARDS
            rows = shards[shard]
            row = rows[(request % SLICES) * len(rows) // SLICES + len(rows) // (2 * SLICES)]
            forgotten[shard] = np.append(forgotten[shard], row)
            self._save(container, f"request-{request}", forgotten)
            self._train(container, f"request-{request}", shard)
        return {"train_s": trained_s, "revoke_s": time.perf_counter() - began_s}

    def _save(self, container: str, label: str, forgotten: Any) -> None:
        np.save(self._folder / "containers" / container / f"requestfile:{label}.npy", forgotten)

    def _train(self, container: str, label: str, shard: int) -> None:
        words = {
            "model": "purchase",
            "epochs": self._epochs,
            "batch_size": 128,
            "learning_rate": 0.05,
            "optimizer": "sgd",
            "container": container,
            "shard": shard,
            "slices": SLICES,
            "dataset": self._dataset,
            "chkpt_interval": -1,
            "label": label,
        }
        options = [word for name, value in words.items() for word in (f"--{name}", str(value))]
        timed([sys.executable, "sisa.py", "--train", *options], self._folder)


def as_commands(settings: Mapping[str, Any], folder: Path, ids: Sequence[int]) -> dict[str, Any]:
    """Train a run and revoke samples by commands. Returns the seconds of both, and those of the training's phases."""
    (folder / "settings.yaml").write_text(json.dumps(settings), encoding="utf-8")
    trained_s, _, printed = timed((*RAYMU, "train", "settings.yaml", "run", "--json"), folder)
    revoked_s = [
        timed((*RAYMU, "revoke", "run", "--id", str(number), "--strategy", "sisa"), folder)[0] for number in ids
    ]
    phases = {name: round(seconds, 2) for name, seconds in json.loads(printed)["phases"].items()}
    return {"train_s": trained_s, "revoke_s": sum(revoked_s), "phases": phases}


def in_python(settings: Mapping[str, Any], folder: Path, ids: Sequence[int]) -> dict[str, float]:
    """Train a run and revoke samples in one Python process, whose start and imports count as training."""
    began = time.time()
    words = [sys.executable, "-c", IN_PYTHON, json.dumps(settings), "run", json.dumps(list(ids))]
    _, _, printed = timed(words, folder)
    times = json.loads(printed.splitlines()[-1])
    return {"train_s": times["trained"] - began, "revoke_s": times["revoked"] - times["trained"]}


def compare(code: Path, data: str, data_folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Measure all three in turns on one data set. Returns medians, and ratios in which more is faster than SISA's code."""
    epochs, turns = (3, 1) if is_smoke else (12, 3)
    settings = settings_of(data, data_folder, hidden=HIDDEN, epochs=epochs)
    ids = [
        int(number) for number in pq.read_table(settings["data"]["train"], columns=["id"])["id"].to_pylist()[:4000:400]
    ]
    measured: dict[str, list[dict[str, Any]]] = {"sisa": [], "commands": [], "python": []}
    with tempfile.TemporaryDirectory() as name:
        sisa = Sisa(code, data, data_folder, Path(name) / "sisa", epochs=epochs)
        for turn in range(turns):
            measured["sisa"].append(sisa.measure(turn))
            for kind, run in (("commands", as_commands), ("python", in_python)):
                folder = Path(name) / f"{kind}-{turn}"
                folder.mkdir()
                measured[kind].append(run(settings, folder, ids))
    medians = {
        kind: {field: round(median(each[field] for each in turns_of), 2) for field in ("train_s", "revoke_s")}
        for kind, turns_of in measured.items()
    }
    ratios = {
        kind: {field: round(medians["sisa"][field] / medians[kind][field], 1) for field in ("train_s", "revoke_s")}
        for kind in ("commands", "python")
    }
    return {
        "epochs": epochs,
        "turns": turns,
        "seconds": medians,
        "ratios": ratios,
        "phases": measured["commands"][-1]["phases"],
    }


def summary(result: Mapping[str, Any]) -> str:
    cells = []
    for data, compared in result["data"].items():
        sisa, ratios = compared["seconds"]["sisa"], compared["ratios"]
        cells.append(
            f"{data}: SISA's code trains in {sisa['train_s']:.1f} s and forgets ten samples in {sisa['revoke_s']:.1f} s; "
            f"raymu is {ratios['python']['train_s']:.1f}x and {ratios['python']['revoke_s']:.1f}x as fast in Python, "
            f"{ratios['commands']['train_s']:.1f}x and {ratios['commands']['revoke_s']:.1f}x as commands"
        )
    loads = f"load of the machine {result['load_before'][0]:.1f} before and {result['load_after'][0]:.1f} after"
    return f"{'; '.join(cells)}; {loads}"


EXPERIMENT = Experiment(name="beside_sisa", doc=__doc__, results=("beside_sisa.json",), summary=summary)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("code", type=Path, help="SISA's code: a folder with sisa.py, or a git directory")
    add_options(parser)
    arguments = parser.parse_args()
    before = load()
    data = {
        name: compare(arguments.code.absolute(), name, arguments.data_folder.absolute(), is_smoke=arguments.smoke)
        for name in arguments.data
    }
    result = {"load_before": before, "data": data, "load_after": load()}
    write_document(EXPERIMENT.results[0], result, is_smoke=arguments.smoke)
    print(summary(result), file=sys.stderr)


if __name__ == "__main__":
    main()
