"""What does a sample, a shard and a request take up: on disk, in memory, in the journal and on the network?

Method: made-up samples of random bytes, which cannot be compressed, are written, trained on and revoked as runs in this
process, and what the runs contain is counted. Checkpoints: the size of the files, for each model. Ingest: the peak memory of
a separate process above its imports, and its growth with the number of samples. Coordinator: the lineage of a trained shard
is decoded once for each shard number, so that nothing is shared. Requests: one sample each, one after the other; the messages
to a worker and back have their pickled size, which is what Ray sends. Times are CPU times of one core, so that other work on
the machine matters little. It takes a few minutes, on Linux.

Conclusion: what bounds runs beyond one machine is worked out in [CAPACITY](../cluster/CAPACITY.md).
"""

import asyncio
import gc
import pickle
import sqlite3
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from experiments.harness import EXPERIMENTS, SMOKE, Experiment, document_parser, draw_figures, write_document
from experiments.markdown import count, table
from experiments.plots import legend, logarithmic_x, look, panels
from experiments.process_memory import peak_bytes
from raymu.config import Config
from raymu.config.unlearning import Boundary, Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import Command, PublishGeneration
from raymu.core.events import GenerationPublished, RevocationsAccepted, RunTrained
from raymu.core.records import Generation, SampleFiles, ShardLineage
from raymu.core.requests import ForgetSet, RevocationRequest
from raymu.core.run_shape import RunShape
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.sample_index import SampleIndex
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import Progress, Work, WorkReport, no_progress
from raymu.store.codec import from_json, to_json
from raymu.store.journal.file_seal import JOURNAL
from raymu.store.run import RunStore
from raymu.training.models import build_model

PIXELS, CLASSES = 784, 10
MODEL, MODEL_WITH_MOMENTS = "MLP 784-256-10, SGD", "MLP 784-256-10, Adam"
MODELS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "logistic, SGD": ({"name": "logistic"}, {"learning_rate": 0.01}),
    MODEL: ({"name": "mlp", "hidden": [256]}, {"learning_rate": 0.01}),
    MODEL_WITH_MOMENTS: ({"name": "mlp", "hidden": [256]}, {"optimizer": "adam", "learning_rate": 0.001}),
    "CNN 16-32, SGD": ({"name": "cnn"}, {"learning_rate": 0.01}),
    "ResNet 16-32, SGD": ({"name": "resnet"}, {"learning_rate": 0.01}),
}
JOURNAL_TABLES = ("events", "forget", "ledger", "revoked")

SHARDS, SAMPLES, SLICES, EPOCHS = 10_000, 10**9, 5, 12
"""The example of CAPACITY.md."""
GROUP = 64
"""Samples of a recorded update."""
REVOKED = 10**6
"""Requests a year, for one sample each: one in a thousand samples."""
LINK = 25e9 / 8
"""Bytes a second of a node's network."""
DAY_S = 86_400.0

Result = Mapping[str, Any]


class MeasuringFleet(LocalFleet):
    """A local fleet that counts what it does."""

    def __init__(self, store: RunStore) -> None:
        super().__init__(store)
        self.message_bytes = 0
        """Pickled bytes of all commands and reports."""
        self.busy_s = 0.0
        """CPU seconds."""
        self.passes = 0.0
        """Sample passes."""

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        started = time.process_time()
        report = await super().run(work, progress)
        self.busy_s += time.process_time() - started
        self.passes += report.passes
        self.message_bytes += len(pickle.dumps(work)) + len(pickle.dumps(report))
        return report


def write_random_bytes(path: Path, *, samples: int, features: int) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, samples * features, dtype=np.uint8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(pixels), features)
    labels = random.integers(0, CLASSES, samples)
    pq.write_table(pa.table({"id": np.arange(samples), "label": labels, "features": column}), path)


def configure(folder: Path, *, samples: int, features: int = PIXELS, **branches: Mapping[str, Any]) -> Config:
    """Return settings for made-up samples, which are written to the folder. `branches` are settings that differ."""
    train = folder / f"{samples}x{features}.parquet"
    if not train.exists():
        write_random_bytes(train, samples=samples, features=features)
    tree: dict[str, Any] = {
        "data": {"train": str(train), "classes": CLASSES, "normalize": "unit"},
        "model": {"name": "mlp", "hidden": [256]},
        "training": {"epochs": 3, "learning_rate": 0.01, "device": "cpu"},
        "partition": {"shards": 4, "slices": 5, "seed": 7},
        "unlearning": {},
        "cluster": {"fleet": "local"},
    }
    for branch, settings in branches.items():
        tree[branch] = settings if branch == "model" else {**tree[branch], **settings}
    return Config.parse(tree)


def train_run(config: Config, location: Path) -> tuple[Coordinator, MeasuringFleet]:
    prepare_run(config, str(location)).write()
    fleet = MeasuringFleet(RunStore(str(location)))
    coordinator = Coordinator(RunStore(str(location)), fleet)
    asyncio.run(coordinator.train(no_progress))
    return coordinator, fleet


def lineages_of(location: Path) -> tuple[ShardLineage, ...]:
    return RunStore(str(location)).current().lineages


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a call, and its result."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def measure_models(folder: Path) -> list[dict[str, Any]]:
    """Measure the last stage's checkpoint: weights, normalisation and the optimizer's state."""
    rows: list[dict[str, Any]] = []
    for number, (name, (model, training)) in enumerate(MODELS.items()):
        config = configure(folder, samples=400, model=model, training=training, partition={"shards": 1, "slices": 2})
        coordinator, _ = train_run(config, folder / f"model-{number}")
        asyncio.run(coordinator.close())
        [lineage] = lineages_of(folder / f"model-{number}")
        built = build_model(config.model, input_shape=(PIXELS,), classes=CLASSES)
        parameters = sum(parameter.numel() for parameter in built.parameters())
        assert lineage.checkpoints[-1]
        size = lineage.checkpoints[-1].file.byte_size
        rows.append({"model": name, "parameters": parameters, "checkpoint_bytes": size})
    return rows


def measure_updates(folder: Path, parameters: int) -> Result:
    """Measure recorded contributions by group, in bytes for each row and parameter."""
    groups, samples, slices = 4, 1_280, 5
    unlearning = {"contributions": "group", "groups_per_slice": groups}
    config = configure(folder, samples=samples, partition={"shards": 1, "slices": slices}, unlearning=unlearning)
    coordinator, _ = train_run(config, folder / "updates")
    asyncio.run(coordinator.close())
    [lineage] = lineages_of(folder / "updates")
    size = sum(update.byte_size for update in lineage.updates if update)
    rows = sum(groups * (stage + 1) for stage in range(slices))
    return {
        "rows": rows,
        "parameters": parameters,
        "bytes": size,
        "bytes_per_row_and_parameter": size / rows / parameters,
    }


def ingest(folder: Path, samples: int, features: int) -> tuple[int, float]:
    """Ingest in a process of its own. Returns its peak memory above the imports in bytes, and the CPU seconds."""
    config = configure(folder, samples=samples, features=features)
    before = peak_bytes()
    seconds, _ = timed(lambda: prepare_run(config, str(folder / f"ingest-{samples}x{features}")).write())
    return peak_bytes() - before, seconds


def measure_samples(folder: Path, scale: int) -> Result:
    """Measure ingest and the sample index, in bytes and seconds a sample. `scale` divides the numbers of samples."""
    sizes = {16: (100_000 // scale, 400_000 // scale), PIXELS: (100_000 // scale, 400_000 // scale)}
    result: dict[str, Any] = {}
    for features, (few, many) in sizes.items():
        peaks = []
        for samples in (few, many):
            configure(folder, samples=samples, features=features)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                peaks.append(process.submit(ingest, folder, samples, features).result())
        (low_bytes, low_s), (high_bytes, high_s) = peaks
        tables = RunStore(str(folder / f"ingest-{many}x{features}")).manifest.tables
        result[f"of_{features}_bytes"] = {
            "table_bytes": sum(table_ref.byte_size for table_ref in tables) / many,
            "shard_samples": many // len(tables),
            "ingest_peak_bytes": high_bytes,
            "ingest_memory_bytes": (high_bytes - low_bytes) / (many - few),
            "ingest_s": (high_s - low_s) / (many - few),
        }
    many = sizes[16][1]
    store = RunStore(str(folder / f"ingest-{many}x16"))
    manifest = store.manifest
    files = [
        SampleFiles(table=table, index=index) for table, index in zip(manifest.tables, manifest.indexes, strict=True)
    ]
    seconds, _ = timed(lambda: SampleIndex(store, files.__getitem__).homes([0]))
    return {
        **result,
        "index_bytes": sum(ref.byte_size for ref in manifest.indexes if ref) / many,
        "index_samples": many // len(files),
        "lookup_s": seconds,
    }


def measure_requests(folder: Path, requests: int) -> Result:
    """Measure the journal and the messages of requests for one sample each, patched and retrained."""
    coordinator, fleet = train_run(configure(folder, samples=2_000), folder / "requests")
    result: dict[str, Any] = {}
    ids = iter(range(2_000))
    for kind, strategy in (("retrained", "sisa"), ("patched", "dpus")):
        before, messages = _journal_size(folder), fleet.message_bytes
        for _ in range(requests):
            asyncio.run(coordinator.revoke([Revocation(ids=(next(ids),), strategy=strategy)], no_progress))
        after = _journal_size(folder)
        growth = {name: (after[name] - before[name]) / requests for name in after}
        result[kind] = {**growth, "message_bytes": (fleet.message_bytes - messages) / requests}
    before = _journal_size(folder)
    many = tuple(next(ids) for _ in range(500))
    asyncio.run(coordinator.revoke([Revocation(ids=many, strategy="dpus")], no_progress))
    result["bytes_per_further_id"] = (_journal_size(folder)["bytes"] - before["bytes"]) / len(many)
    asyncio.run(coordinator.close())
    return result


def _journal_size(folder: Path) -> dict[str, float]:
    """Return the bytes that SQLite uses for the run, with indexes, and the rows of all tables."""
    with sqlite3.connect(f"file:{folder / 'requests' / JOURNAL}?mode=ro", uri=True) as database:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        counts = [database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in JOURNAL_TABLES]
    return {"bytes": float((pages - free) * size), "rows": float(sum(counts))}


def measure_coordinator(folder: Path, lineage: ShardLineage, shards: int) -> Result:
    """Measure a board of many shards, without work of theirs: its memory, a request's record, and a whole generation."""
    config = configure(folder, samples=2_000)
    payload = to_json(lineage)
    gc.collect()
    tracemalloc.start()
    lineages = tuple(
        replace(from_json(ShardLineage, payload, source="a lineage"), shard=shard) for shard in range(shards)
    )
    board = RevocationBoard(RunShape.of(config), workers=1)
    [whole] = board.handle(RunTrained(at=datetime.now(UTC), lineages=lineages, workers=1))
    gc.collect()
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    store = RunStore(str(folder / "generation"))
    store.keys.create()
    whole_s, whole_file = timed(lambda: store.generations.write(_generation(whole, 1, range(shards))))
    published = GenerationPublished(at=datetime.now(UTC), number=1, manifest_sha256=whole_file.sha256)
    board.handle(published)
    accepted = RevocationsAccepted(at=datetime.now(UTC), requests=(_request(),), generation=1)
    accept_s, [record, *_] = timed(lambda: board.handle(accepted))
    assert isinstance(record, PublishGeneration)
    assert record.changed is not None
    record_s, record_file = timed(lambda: store.generations.write(_generation(record, 2, record.changed)))
    return {
        "shards": shards,
        "slices": lineage.slices,
        "memory_bytes_per_shard": memory / shards,
        "generation_bytes_per_shard": whole_file.byte_size / shards,
        "generation_s_per_shard": whole_s / shards,
        "record_bytes": record_file.byte_size,
        "record_s": record_s,
        "accept_s": accept_s,
    }


def _generation(command: Command, number: int, shards: Iterable[int] | None) -> Generation:
    """Return a generation with the states of these shards, as a coordinator writes it."""
    assert isinstance(command, PublishGeneration)
    changed = list(shards or ())
    return Generation(
        number=number,
        previous_sha256="",
        cause=command.cause,
        request_ids=(),
        published_at=datetime.now(UTC),
        constituents=tuple(command.constituents[shard] for shard in changed),
        lineages=tuple(command.lineages[shard] for shard in changed),
        base=None if number == 1 else 1,
    )


def _request() -> RevocationRequest:
    return RevocationRequest(
        request_id="r1",
        payload_sha256="",
        strategy=Strategy.HS,
        boundary=Boundary.parse(0.35),
        received_at=datetime.now(UTC),
        due_at=datetime.now(UTC),
        forget=(ForgetSet(shard=0, samples_by_slice={2: 1}),),
        hashes=("h",),
    )


def measure_training(folder: Path, samples: int) -> Result:
    """Measure the sample passes a second of one shard, with one thread, including checkpoints."""
    config = configure(folder, samples=samples, partition={"shards": 1, "slices": 5}, training={"epochs": 12})
    coordinator, fleet = train_run(config, folder / "training")
    asyncio.run(coordinator.close())
    return {"passes_per_s": fleet.passes / fleet.busy_s}


def measure(*, is_smoke: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="raymu-capacity-") as name:
        folder = Path(name)
        models = measure_models(folder)
        parameters = next(row["parameters"] for row in models if row["model"] == MODEL)
        training = measure_training(folder, 2_000 if is_smoke else 20_000)
        [lineage] = lineages_of(folder / "training")
        return {
            "models": models,
            "updates": measure_updates(folder, parameters),
            "samples": measure_samples(folder, 10 if is_smoke else 1),
            "coordinator": measure_coordinator(folder, lineage, 500 if is_smoke else SHARDS),
            "requests": measure_requests(folder, 5 if is_smoke else 50),
            "training": training,
        }


def summary(result: Result) -> str:
    samples, coordinator, patched = result["samples"], result["coordinator"], result["requests"]["patched"]
    return (
        f"a sample takes {samples['index_bytes']:.0f} bytes in its shard's index; a shard of {coordinator['slices']} slices "
        f"{coordinator['generation_bytes_per_shard'] / 1000:.1f} kB in a whole generation; a request "
        f"{patched['bytes'] / 1000:.1f} kB in the journal and {patched['message_bytes'] / 1000:.1f} kB of messages"
    )


def constants_table(result: Result) -> str:
    """Write what was measured."""
    samples, coordinator, requests = result["samples"], result["coordinator"], result["requests"]
    images = samples["of_784_bytes"]
    lines = [
        [f"checkpoint of a stage: {row['model']}", "parameter", in_bytes(row["checkpoint_bytes"] / row["parameters"])]
        for row in result["models"]
    ]
    update = result["updates"]["bytes_per_row_and_parameter"]
    lines += [
        ["recorded update of a group", "parameter", in_bytes(update)],
        ["the run's copy of a sample of 784 bytes", "sample", in_bytes(images["table_bytes"])],
        ["memory of ingest above the imports, samples of 784 bytes", "process", in_bytes(images["ingest_peak_bytes"])],
        ["its growth", "sample", in_bytes(max(0.0, images["ingest_memory_bytes"]))],
        ["time of ingest, sample of 784 bytes", "sample", in_time(images["ingest_s"])],
        ["time of ingest, sample of 16 bytes", "sample", in_time(samples["of_16_bytes"]["ingest_s"])],
        ["index of a shard", "sample", in_bytes(samples["index_bytes"])],
        [
            f"looking up one id, {count(samples['index_samples'])} samples in the shard, cold",
            "shard",
            in_time(samples["lookup_s"]),
        ],
        ["the coordinator's state", "shard", in_bytes(coordinator["memory_bytes_per_shard"])],
        ["file of a whole generation", "shard", in_bytes(coordinator["generation_bytes_per_shard"])],
        ["time to write it", "shard", in_time(coordinator["generation_s_per_shard"])],
        ["record of a generation in which one shard changed", "record", in_bytes(coordinator["record_bytes"])],
        ["time to write it", "record", in_time(coordinator["record_s"])],
        [
            f"time of the board for a request, {count(coordinator['shards'])} shards",
            "request",
            in_time(coordinator["accept_s"]),
        ],
    ]
    for kind in ("patched", "retrained"):
        request = requests[kind]
        journal = f"{in_bytes(request['bytes'])} in {request['rows']:.1f} rows"
        lines += [
            [f"journal, one sample {kind}", "request", journal],
            [f"messages to a worker and back, one sample {kind}", "request", in_bytes(request["message_bytes"])],
        ]
    lines += [
        ["journal, each further sample of a request", "sample", in_bytes(requests["bytes_per_further_id"])],
        [f"training, {MODEL}, one thread", "second", f"{count(result['training']['passes_per_s'])} sample passes"],
    ]
    return table(["what", "for each", "measured"], lines, numbers_from=2)


def bounds_table(result: Result) -> str:
    """Write the constants multiplied by the size of the example."""
    models = {row["model"]: row for row in result["models"]}
    samples, coordinator, requests = result["samples"], result["coordinator"], result["requests"]
    images, update = samples["of_784_bytes"], result["updates"]["bytes_per_row_and_parameter"]
    checkpoint, parameters = models[MODEL]["checkpoint_bytes"], models[MODEL]["parameters"]
    # A whole generation is written once the records since the last one outweigh it.
    whole_s = (
        coordinator["generation_s_per_shard"] * coordinator["record_bytes"] / coordinator["generation_bytes_per_shard"]
    )
    request_s = samples["lookup_s"] + coordinator["accept_s"] + 2 * (coordinator["record_s"] + whole_s)
    shard_table = SAMPLES / SHARDS * images["table_bytes"]
    repair = 2 * shard_table + SLICES * checkpoint
    passes_per_s = result["training"]["passes_per_s"]
    lines = [
        [
            "ingest: memory of one process",
            in_bytes(images["ingest_peak_bytes"]),
            f"a batch, and one shard of {count(images['shard_samples'])} samples; the number of shards does not matter",
        ],
        [
            "ingest: time of one core",
            in_time(SAMPLES * images["ingest_s"]),
            "blocks are placed, and shards written, by as many processes as there are",
        ],
        [
            "indexes of all shards",
            in_bytes(SAMPLES * samples["index_bytes"]),
            f"{in_bytes(SAMPLES / SHARDS * samples['index_bytes'])} a shard; a request maps those that it touches",
        ],
        [
            "coordinator: state of the shards",
            in_bytes(SHARDS * coordinator["memory_bytes_per_shard"]),
            "all that it keeps in memory beside open requests",
        ],
        [
            "a whole generation",
            in_bytes(SHARDS * coordinator["generation_bytes_per_shard"]),
            "written once the records since the last one outweigh it, and read when a run is opened",
        ],
        [
            "coordinator: lookup, decision and records of one request",
            f"{in_time(request_s)}: {count(DAY_S / request_s)} a day at most",
            f"the example has {count(REVOKED / 365)} a day; its files and commits take longer on a slow disk",
        ],
        ["the run's samples", in_bytes(SAMPLES * images["table_bytes"]), "an object store's size"],
        ["checkpoints, SGD", in_bytes(SHARDS * SLICES * checkpoint), "grows with slices"],
        [
            "checkpoints, Adam",
            in_bytes(SHARDS * SLICES * models[MODEL_WITH_MOMENTS]["checkpoint_bytes"]),
            "two moments beside each weight",
        ],
        [
            "contributions by group",
            in_bytes(SAMPLES / GROUP * (SLICES + 1) / 2 * parameters * update),
            "`contributions: curvature` and `gradient` record none",
        ],
        [
            "objects in the store",
            count(SHARDS * (SLICES + 2)),
            "listed when a run is opened, a thousand in each call, and not for a request",
        ],
        [
            "journal: a year's requests",
            f"{in_bytes(REVOKED * requests['patched']['bytes'])}, {count(REVOKED * requests['patched']['rows'])} rows",
            "one PostgreSQL server; opening a run reads a snapshot, and the events after it",
        ],
        [
            "network: one shard retrained from its first slice",
            f"{in_bytes(repair)}, {in_time(repair / LINK)}",
            "its samples read and written, its checkpoints written",
        ],
        [
            "Ray's messages: a year's requests",
            in_bytes(REVOKED * requests["patched"]["message_bytes"]),
            "without samples and checkpoints, if each shard has one worker",
        ],
        [
            "Ray's object store: a shard that several workers train; a shard that is audited",
            f"{in_bytes(shard_table)}; {in_bytes(2 * shard_table)}",
            "its samples during the training; for an audit, about as many of other shards too, and up to 8 of their models",
        ],
        [
            "training",
            f"{count(SAMPLES * EPOCHS / passes_per_s / DAY_S)} core days",
            "shards train independently: divide by the cores",
        ],
        [
            "retraining one shard from its first slice",
            in_time(SAMPLES / SHARDS * EPOCHS / passes_per_s),
            "of one core; the hybrid boundary saves this",
        ],
    ]
    return table(["what", "size or time", "what it means"], lines, numbers_from=3)


def draw(result: Result) -> Figure:
    """Draw how bytes and seconds grow with the samples, in shards as large as the example's."""
    models = {row["model"]: row for row in result["models"]}
    measured, coordinator, images = result["samples"], result["coordinator"], result["samples"]["of_784_bytes"]
    samples = np.logspace(6, 10, 5)
    shards, ones = samples * SHARDS / SAMPLES, np.ones(len(samples))
    request_s = measured["lookup_s"] + coordinator["accept_s"] + 2 * coordinator["record_s"]
    pass_s = 1.0 / result["training"]["passes_per_s"]
    lines = (
        {
            "the run's samples": samples * images["table_bytes"],
            "checkpoints, SGD": shards * SLICES * models[MODEL]["checkpoint_bytes"],
            "indexes of all shards": samples * measured["index_bytes"],
            "ingest: memory of one process": ones * images["ingest_peak_bytes"],
            "coordinator: state of the shards": shards * coordinator["memory_bytes_per_shard"],
            "a whole generation": shards * coordinator["generation_bytes_per_shard"],
        },
        {
            "training, one core": samples * EPOCHS * pass_s,
            "ingest, one core": samples * images["ingest_s"],
            "retraining one shard": ones * SAMPLES / SHARDS * EPOCHS * pass_s,
            "writing a whole generation": shards * coordinator["generation_s_per_shard"],
            "a request's lookup, decision and records": ones * request_s,
        },
    )
    figure, axes = panels(1, 2, width=3.8, height=4.4)
    for panel, drawn, label in zip(axes, lines, ("bytes", "seconds"), strict=True):
        first = 0 if panel is axes[0] else len(lines[0])
        for index, (what, values) in enumerate(drawn.items(), first):
            line = look(what, index) | ({"ls": "--"} if index >= len(lines[0]) else {})
            panel.plot(samples, values, label=what, **line)
        logarithmic_x(panel, samples.tolist())
        panel.set_xticks(samples, [f"$10^{{{exponent}}}$" for exponent in range(6, 11)])
        panel.set_yscale("log")
        panel.set_xlabel(f"samples, in shards of {count(SAMPLES / SHARDS)}")
        panel.set_ylabel(label)
    legend(figure, axes)
    return figure


_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def in_bytes(size: float) -> str:
    """Write a size with three digits, in decimal units."""
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000.0
    return f"{size:.3g} {_UNITS[-1]}"


def in_time(seconds: float) -> str:
    """Write a time with three digits."""
    for most, scale, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "minutes")):
        if seconds < most:
            return f"{seconds * scale:.3g} {unit}"
    hours = seconds / 3600.0
    return f"{hours:.3g} hours" if hours < 72.0 else f"{hours / 24.0:.3g} days"


EXPERIMENT = Experiment(
    name="capacity",
    doc=__doc__,
    results=("capacity.json",),
    summary=summary,
    figures={"capacity": draw},
    tables={"constants": constants_table, "bounds": bounds_table},
)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("--draw", action="store_true", help="only draw the figure again, from the kept result")
    arguments = parser.parse_args()
    if not arguments.draw:
        write_document(EXPERIMENT.results[0], measure(is_smoke=arguments.smoke), is_smoke=arguments.smoke)
    draw_figures(EXPERIMENT, SMOKE if arguments.smoke else EXPERIMENTS)


if __name__ == "__main__":
    main()
