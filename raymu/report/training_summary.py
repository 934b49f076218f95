"""The summary of the training as names and values: data, model, partition, determinism and versions."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from raymu.config import ClusterConfig, Config, DataConfig, ModelConfig, TrainingConfig, UnlearningConfig
from raymu.core.events import Event, RunExtended, RunTrained
from raymu.core.records import Generation
from raymu.core.uri import redacted
from raymu.report.formatting import count
from raymu.store.manifest import RunManifest
from raymu.text import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class FactGroup:
    """Names and values under one heading."""

    heading: str
    facts: Mapping[str, str]


def training_summary(
    manifest: RunManifest, generation: Generation, events: Iterable[Event], determinism: Iterable[str]
) -> tuple[FactGroup, ...]:
    """Describe the training. Addresses and passwords of databases are left out.

    Args:
        manifest: The manifest of the run.
        generation: The current one.
        events: All events of the run.
        determinism: The determinism classes of all states, as JSON.
    """
    config = Config.parse(manifest.config)
    trained = next((event for event in events if isinstance(event, RunTrained)), None)
    samples = sum(lineage.samples for lineage in trained.lineages) if trained else 0
    samples += sum(event.samples for event in events if isinstance(event, RunExtended))
    retained = sum(lineage.samples for lineage in generation.lineages)
    return (
        FactGroup(heading="Data", facts=_data(config.data, manifest, samples, retained)),
        FactGroup(heading="Model", facts=_model(config.model)),
        FactGroup(
            heading="Training",
            facts=_training(config.training, config.epochs_per_stage + generation.lineages[0].added_epochs),
        ),
        FactGroup(heading="Partition", facts=_partition(config, added=len(generation.lineages[0].added_epochs))),
        FactGroup(heading="Unlearning", facts=_unlearning(config.unlearning)),
        FactGroup(heading="Determinism class", facts=_determinism(determinism)),
        FactGroup(heading="Run", facts=_run(manifest, config.cluster, trained)),
    )


def _data(data: DataConfig, manifest: RunManifest, samples: int, retained: int) -> dict[str, str]:
    facts = {
        "training file": file_name(data.train) if data.train else "a table in memory",
        "samples": count(samples),
        "retained": count(retained),
        "input": " x ".join(str(size) for size in manifest.input_shape) or "one number",
        "classes": str(manifest.classes),
        "standardised": _normalization(data),
    }
    return facts | ({"test file": file_name(data.test)} if data.test else {})


def _normalization(data: DataConfig) -> str:
    named = {"none": "no", "unit": "to [0, 1]", "shard": "by each shard's first slice"}
    if isinstance(data.normalize, str):
        return named[data.normalize]
    return f"by mean {data.normalize.mean:g}, deviation {data.normalize.std:g}"


def _model(model: ModelConfig) -> dict[str, str]:
    settings = {str(name): json.dumps(value, default=str) for name, value in model.args.items()}
    return {"name": model.name or model.factory or "", **settings}


def _training(training: TrainingConfig, per_stage: tuple[int, ...]) -> dict[str, str]:
    facts = {
        "epochs": str(training.epochs),
        "epochs of each stage": ", ".join(str(epochs) for epochs in per_stage),
        "batch size": str(training.batch_size),
        "optimizer": str(training.optimizer),
        "learning rate": f"{training.learning_rate:g}, {training.schedule}",
    }
    extra = {"momentum": training.momentum, "weight decay": training.weight_decay}
    return facts | {name: f"{value:g}" for name, value in extra.items() if value}


def _partition(config: Config, *, added: int) -> dict[str, str]:
    partition = config.partition
    extended = f", {added} of them added later" if added else ""
    return {
        "shards": str(partition.shards),
        "slices": f"{partition.slices + added} in each shard{extended}",
        "policy": partition.policy,
        "seed": str(partition.seed),
    }


def _unlearning(unlearning: UnlearningConfig) -> dict[str, str]:
    return {
        "strategy": unlearning.strategy,
        "hybrid boundary": str(unlearning.boundary),
        "on acceptance": unlearning.on_accept,
        "contributions": unlearning.contributions + (", calibrated" if unlearning.calibration else ""),
        "aggregation": unlearning.aggregation.replace("_", " "),
    }


def _determinism(classes: Iterable[str]) -> dict[str, str]:
    """Describe the parts of one class, or each of several classes in one line."""
    parts = [json.loads(text) for text in dict.fromkeys(classes)]
    if len(parts) == 1:
        return {name.replace("_", " "): _word(value) for name, value in parts[0].items()}
    return {f"class {number}": _class(values) for number, values in enumerate(parts, start=1)}


def _class(parts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_word(value)}" for name, value in parts.items())


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _run(manifest: RunManifest, cluster: ClusterConfig, trained: RunTrained | None) -> dict[str, str]:
    return {
        "id": manifest.run_id,
        "created by": f"raymu {manifest.raymu_version}",
        "created": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
        "trained": f"{trained.at:%Y-%m-%d %H:%M} UTC, {plural(trained.workers, 'worker')}" if trained else "not yet",
        "fleet": cluster.fleet,
        "journal": "SQLite beside the run" if cluster.journal is None else "a database",
    }


def file_name(path: str) -> str:
    """Return the name of a file without its folder, which is not for readers of the page."""
    return PurePath(redacted(path)).name
