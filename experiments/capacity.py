"""What does a sample, a shard and a request take up: on disk, in memory, in the journal and on the network?

Method: made-up samples of random bytes, which no compression helps, are written, trained on and revoked as runs in this
process, and what lies in the runs is counted. Checkpoints: of each model, as the files are. Ingest: the peak memory of a
process of its own, as a slope over the samples. Coordinator: a trained shard's lineage, repeated with its number changed and
decoded anew, so that nothing is shared. Requests: one sample each, one after the other; what travels to a worker and back is
its pickled size, which is what Ray sends. Times are the processor's, of one core, so that other work on the machine counts
for little. A minute or two, on Linux; `cluster/CAPACITY.md` is written anew from the result.
"""

import argparse
import asyncio
import json
import platform
import re
import sqlite3
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import capacity_page
import torch
from capacity_coordinator import measure_coordinator
from capacity_runs import CLASSES, PIXELS, configure, lineages_of, timed, trained
from documents import RESULTS

from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.sample_index import MOST_PURGED, SampleIndex
from raymu.service.shard.messages import no_progress
from raymu.store.journal.file_seal import JOURNAL
from raymu.store.run import RunStore
from raymu.training.models import build_model

Found = dict[str, Any]
MODELS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "logistic, SGD": ({"name": "logistic"}, {"learning_rate": 0.01}),
    "MLP 784-256-10, SGD": ({"name": "mlp", "hidden": [256]}, {"learning_rate": 0.01}),
    "MLP 784-256-10, Adam": ({"name": "mlp", "hidden": [256]}, {"optimizer": "adam", "learning_rate": 0.001}),
    "CNN 16-32, SGD": ({"name": "cnn"}, {"learning_rate": 0.01}),
    "ResNet 16-32, SGD": ({"name": "resnet"}, {"learning_rate": 0.01}),
}
TABLES = ("events", "forget", "ledger", "revoked")


def measure_models(folder: Path) -> list[Found]:
    """Bytes of the last stage's checkpoint: weights, normalisation, and the optimizer's state."""
    rows = []
    for number, (name, (model, training)) in enumerate(MODELS.items()):
        config = configure(folder, samples=400, model=model, training=training, partition={"shards": 1, "slices": 2})
        coordinator, _ = trained(config, folder / f"model-{number}")
        asyncio.run(coordinator.close())
        [lineage] = lineages_of(folder / f"model-{number}")
        built = build_model(config.model, input_shape=(PIXELS,), classes=CLASSES)
        parameters = sum(parameter.numel() for parameter in built.parameters())
        assert lineage.checkpoints[-1]
        size = lineage.checkpoints[-1].file.byte_size
        rows.append({"model": name, "parameters": parameters, "checkpoint_bytes": size})
    return rows


def measure_updates(folder: Path, parameters: int) -> Found:
    """Recorded contributions by group: bytes of a row for each parameter, and for each of its samples."""
    groups, samples, slices = 4, 1_280, 5
    unlearning = {"contributions": "group", "groups_per_slice": groups}
    config = configure(folder, samples=samples, partition={"shards": 1, "slices": slices}, unlearning=unlearning)
    coordinator, _ = trained(config, folder / "updates")
    asyncio.run(coordinator.close())
    [lineage] = lineages_of(folder / "updates")
    size = sum(ref.byte_size for ref in lineage.updates if ref)
    rows = sum(groups * (stage + 1) for stage in range(slices))
    return {
        "rows": rows,
        "parameters": parameters,
        "bytes": size,
        "bytes_per_row_and_parameter": size / rows / parameters,
    }


def ingest(folder: Path, samples: int, features: int) -> tuple[int, float]:
    """In a process of its own. returns: its peak memory in bytes, and the processor's seconds"""
    config = configure(folder, samples=samples, features=features)
    seconds, _ = timed(lambda: prepare_run(config, str(folder / f"ingest-{samples}x{features}")).write())
    # Not getrusage, which tells the parent's peak where that is the higher one.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert peak, "Linux alone tells a process's own peak memory"
    return int(peak[1]) * 1024, seconds


def measure_samples(folder: Path, scale: int) -> Found:
    sizes = {16: (50_000 // scale, 250_000 // scale), PIXELS: (20_000 // scale, 100_000 // scale)}
    found: Found = {}
    for features, (few, many) in sizes.items():
        peaks = []
        for samples in (few, many):
            configure(folder, samples=samples, features=features)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                peaks.append(alone.submit(ingest, folder, samples, features).result())
        (low, quick), (high, slow) = peaks
        tables = RunStore(str(folder / f"ingest-{many}x{features}")).manifest.tables
        found[f"of_{features}_bytes"] = {
            "table_bytes": sum(ref.byte_size for ref in tables) / many,
            "ingest_memory_bytes": (high - low) / (many - few),
            "ingest_s": (slow - quick) / (many - few),
        }
    store = RunStore(str(folder / f"ingest-{sizes[16][1]}x16"))
    seconds, index = timed(lambda: SampleIndex.read(store, store.manifest.tables))
    arrays = (index.hashes, index.shards, index.slices, index.owners)
    held = sum(array.nbytes for array in arrays) + index.ids.nbytes
    every = len(index.hashes)
    copy_s, _ = timed(lambda: index.purge(range(1 + int(MOST_PURGED * every))))
    return {**found, "index_bytes": held / every, "index_s": seconds / every, "index_copy_s": copy_s / every}


def measure_requests(folder: Path, requests: int) -> Found:
    """Of requests for one sample each, patched and retrained: the journal's bytes, and what travels."""
    coordinator, fleet = trained(configure(folder, samples=2_000), folder / "requests")
    found: Found = {}
    ids = iter(range(2_000))
    for kind, strategy in (("retrained", "sisa"), ("patched", "dpus")):
        before, messages = _journal(folder), fleet.message_bytes
        for _ in range(requests):
            asyncio.run(coordinator.revoke([Revocation(ids=(next(ids),), strategy=strategy)], no_progress))
        after = _journal(folder)
        grown = {name: (after[name] - before[name]) / requests for name in after}
        found[kind] = {**grown, "message_bytes": (fleet.message_bytes - messages) / requests}
    before = _journal(folder)
    many = tuple(next(ids) for _ in range(500))
    asyncio.run(coordinator.revoke([Revocation(ids=many, strategy="dpus")], no_progress))
    found["bytes_per_further_id"] = (_journal(folder)["bytes"] - before["bytes"]) / len(many)
    asyncio.run(coordinator.close())
    return found


def _journal(folder: Path) -> dict[str, float]:
    """Bytes that SQLite keeps for the run, indexes too, and rows of each table."""
    with sqlite3.connect(f"file:{folder / 'requests' / JOURNAL}?mode=ro", uri=True) as database:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        rows = {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES}
    return {"bytes": float((pages - free) * size), "rows": float(sum(rows.values()))}


def measure_training(folder: Path, samples: int) -> Found:
    """Sample passes a second of one shard, one thread, checkpoints written through."""
    config = configure(folder, samples=samples, partition={"shards": 1, "slices": 5}, training={"epochs": 12})
    coordinator, fleet = trained(config, folder / "training")
    asyncio.run(coordinator.close())
    return {"passes_per_s": fleet.passes / fleet.busy_s}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--smoke", action="store_true", help="a small run, to see that it works; nothing is kept")
    is_smoke = options.parse_args().smoke
    with tempfile.TemporaryDirectory(prefix="raymu-capacity-") as name:
        folder = Path(name)
        models = measure_models(folder)
        parameters = next(row["parameters"] for row in models if row["model"] == capacity_page.MODEL)
        training = measure_training(folder, 2_000 if is_smoke else 20_000)
        [lineage] = lineages_of(folder / "training")
        found = {
            "machine": {
                "processor": torch.backends.cpu.get_cpu_capability(),
                "system": platform.system(),
                "torch": torch.__version__,
            },
            "models": models,
            "updates": measure_updates(folder, parameters),
            "samples": measure_samples(folder, 10 if is_smoke else 1),
            "coordinator": measure_coordinator(folder, lineage, 500 if is_smoke else capacity_page.SHARDS),
            "requests": measure_requests(folder, 5 if is_smoke else 50),
            "training": training,
        }
    print(json.dumps(found, indent=2))
    if not is_smoke:
        (RESULTS / "capacity.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        capacity_page.main()


if __name__ == "__main__":
    main()
