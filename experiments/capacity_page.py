"""The numbers in cluster/CAPACITY.md: written anew from results/capacity.json, between their markers.

`python experiments/capacity_page.py` does it; a unit test compares the page with what it would write.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wording import count, table

from raymu.service.requests.sample_index import MOST_PURGED

HERE = Path(__file__).parent
PAGE = HERE.parent / "cluster" / "CAPACITY.md"
RESULT = HERE / "results" / "capacity.json"
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)

SHARDS, SAMPLES, SLICES, EPOCHS = 10_000, 10**9, 5, 12
GROUP = 64
"""Samples to a recorded update."""
REVOKED = 10**6
"""Requests a year, for one sample each: one in a thousand samples."""
LINK = 25e9 / 8
"""Bytes a second of a node's network."""
DAY_S = 86_400.0
MODEL, WITH_MOMENTS = "MLP 784-256-10, SGD", "MLP 784-256-10, Adam"

Found = Mapping[str, Any]
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def constants(found: Found) -> str:
    """What was measured."""
    samples, coordinator, requests = found["samples"], found["coordinator"], found["requests"]
    images = samples["of_784_bytes"]
    lines = [
        [f"checkpoint of a stage: {one['model']}", "parameter", in_bytes(one["checkpoint_bytes"] / one["parameters"])]
        for one in found["models"]
    ]
    update = found["updates"]["bytes_per_row_and_parameter"]
    lines += [
        ["recorded update of a group", "parameter", in_bytes(update)],
        ["the run's copy of a sample of 784 bytes", "sample", in_bytes(images["table_bytes"])],
        ["memory of ingest, sample of 784 bytes", "sample", in_bytes(images["ingest_memory_bytes"])],
        ["memory of ingest, sample of 16 bytes", "sample", in_bytes(samples["of_16_bytes"]["ingest_memory_bytes"])],
        ["time of ingest, sample of 784 bytes", "sample", in_time(images["ingest_s"])],
        ["the coordinator's index of samples", "sample", in_bytes(samples["index_bytes"])],
        ["time to read that index", "sample", in_time(samples["index_s"])],
        ["time to copy it, without those that are purged", "sample", in_time(samples["index_copy_s"])],
        ["the coordinator's state of a shard", "shard", in_bytes(coordinator["memory_bytes_per_shard"])],
        ["file of a generation", "shard", in_bytes(coordinator["generation_bytes_per_shard"])],
        ["time to write it", "shard", in_time(coordinator["publish_s_per_shard"])],
        ["time to take a request in", "shard", in_time(coordinator["accept_s_per_shard"])],
    ]
    for kind in ("patched", "retrained"):
        one = requests[kind]
        rows = f"{in_bytes(one['bytes'])} in {one['rows']:.1f} rows"
        lines += [
            [f"journal, one sample {kind}", "request", rows],
            [f"messages to a worker and back, one sample {kind}", "request", in_bytes(one["message_bytes"])],
        ]
    lines += [
        ["journal, each further sample of a request", "sample", in_bytes(requests["bytes_per_further_id"])],
        [f"training, {MODEL}, one thread", "second", f"{count(found['training']['passes_per_s'])} sample passes"],
    ]
    return table(["what", "for each", "measured"], lines, numbers_from=2)


def bounds(found: Found) -> str:
    """What the constants come to."""
    models = {one["model"]: one for one in found["models"]}
    samples, coordinator, requests = found["samples"], found["coordinator"], found["requests"]
    images, update = samples["of_784_bytes"], found["updates"]["bytes_per_row_and_parameter"]
    checkpoint, parameters = models[MODEL]["checkpoint_bytes"], models[MODEL]["parameters"]
    request_s = SHARDS * (2 * coordinator["publish_s_per_shard"] + coordinator["accept_s_per_shard"])
    request_s += samples["index_copy_s"] / MOST_PURGED
    shard_table = SAMPLES / SHARDS * images["table_bytes"]
    repair = 2 * shard_table + SLICES * checkpoint
    passes_per_s = found["training"]["passes_per_s"]
    lines = [
        ["ingest: memory of one process", in_bytes(SAMPLES * images["ingest_memory_bytes"]), _INGEST],
        ["ingest: time of one process", in_time(SAMPLES * images["ingest_s"]), "the same"],
        ["coordinator: index of samples", in_bytes(SAMPLES * samples["index_bytes"]), _INDEX],
        ["coordinator: reading the index", in_time(SAMPLES * samples["index_s"]), "once, at its first request"],
        ["coordinator: state of the shards", in_bytes(SHARDS * coordinator["memory_bytes_per_shard"]), "no bound"],
        ["a generation's file", in_bytes(SHARDS * coordinator["generation_bytes_per_shard"]), _GENERATION],
        [
            "coordinator: one request by itself",
            f"{in_time(request_s)}: {count(DAY_S / request_s)} a day at most",
            f"{count(REVOKED / 365)} a day are asked for here; those that wait together share all of it",
        ],
        ["the run's samples", in_bytes(SAMPLES * images["table_bytes"]), "an object store's size"],
        ["checkpoints, SGD", in_bytes(SHARDS * SLICES * checkpoint), "grows with slices"],
        [
            "checkpoints, Adam",
            in_bytes(SHARDS * SLICES * models[WITH_MOMENTS]["checkpoint_bytes"]),
            "two moments beside each weight",
        ],
        [
            "contributions by group",
            in_bytes(SAMPLES / GROUP * (SLICES + 1) / 2 * parameters * update),
            "`contributions: gradient` records none",
        ],
        ["objects in the store", count(SHARDS * (SLICES + 1)), "a sweep lists them all, a thousand to a call"],
        [
            "journal: a year's requests",
            f"{in_bytes(REVOKED * requests['patched']['bytes'])}, {count(REVOKED * requests['patched']['rows'])} rows",
            "one PostgreSQL server; opening a run replays its events",
        ],
        [
            "network: one shard retrained from its first slice",
            f"{in_bytes(repair)}, {in_time(repair / LINK)}",
            "its samples read and written, its checkpoints written",
        ],
        [
            "Ray's messages: a year's requests",
            in_bytes(REVOKED * requests["patched"]["message_bytes"]),
            "where each shard has one worker, neither samples nor checkpoints are among them",
        ],
        [
            "Ray's object store: a shard that several workers train; one that is audited",
            f"{in_bytes(shard_table)}; {in_bytes(2 * shard_table)}",
            "its samples, as long as they are trained on; for an audit, about as many of other shards too",
        ],
        [
            "training",
            f"{count(SAMPLES * EPOCHS / passes_per_s / DAY_S)} core days",
            "shards train apart: divide by the cores",
        ],
        [
            "retraining one shard from its first slice",
            in_time(SAMPLES / SHARDS * EPOCHS / passes_per_s),
            "of one core; the boundary is about this",
        ],
    ]
    return table(["what", "comes to", "what it means"], lines, numbers_from=3)


_INGEST = "first bound: it reads the whole file; more than one machine's memory needs an ingest by parts"
_INDEX = "second bound: where the coordinator runs; twice as much while a purge copies it"
_GENERATION = "it names every shard, and is written whole, twice for a request"


def in_bytes(size: float) -> str:
    """Three digits, decimal units."""
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000.0
    return f"{size:.3g} {_UNITS[-1]}"


def in_time(seconds: float) -> str:
    for most, scale, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "minutes")):
        if seconds < most:
            return f"{seconds * scale:.3g} {unit}"
    hours = seconds / 3600.0
    return f"{hours:.3g} hours" if hours < 72.0 else f"{hours / 24.0:.3g} days"


TABLES: Mapping[str, Callable[[Found], str]] = {"constants": constants, "bounds": bounds}


def kept() -> Found:
    """What `capacity.py` found last."""
    found: Found = json.loads(RESULT.read_text(encoding="utf-8"))
    return found


def with_tables(text: str, found: Found) -> str:
    """The text, with every block written anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]](found)}\n{block[3]}", text)


def without_tables(text: str) -> str:
    """What is written by hand."""
    return _BLOCK.sub("", text)


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), kept()), encoding="utf-8")


if __name__ == "__main__":
    main()
