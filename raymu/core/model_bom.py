"""The bill of materials of a served model, as CycloneDX 1.6 has it for machine learning (ML-BOM): one JSON document.

The same facts give the same document. It is built of plain values, because the field's Python library has no model cards.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from raymu.text import plural

SPECIFICATION = "1.6"
_MODEL, _DATA = "model", "training-data"
_FAMILIES: Mapping[str, str] = {
    "logistic": "logistic regression",
    "mlp": "multilayer perceptron",
    "cnn": "convolutional neural network",
    "resnet": "residual neural network",
    "transformers": "transformer",
}
_TASKS: Mapping[str, str] = {
    "classes": "classification",
    "labels": "multi-label classification",
    "regression": "regression",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BomFile:
    """A file, by its hash."""

    path: str
    """Path below the run, with slashes."""
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BomMetric:
    """One measure of the model."""

    name: str
    value: float
    samples: int
    """Test samples that it was measured on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BomFacts:
    """All that the document says."""

    run: str
    """Name of the run."""
    run_id: str
    generation: int
    manifest_sha256: str
    """Hash of the generation's file, in hex."""
    published_at: datetime
    created_by: str
    """Version of raymu that trained the run."""
    written_by: str
    """Version of raymu that writes the document."""
    target: str
    """classes, labels or regression."""
    model: str | None
    """Name of the model; None for one of a factory."""
    settings: Mapping[str, Any]
    """Settings of model, training and partition, by the name of each branch."""
    inputs: Mapping[str, tuple[int, ...]]
    """Shape of each part of one sample's inputs; the only one has an empty name."""
    outputs: int
    """Classes, labels or numbers that the model gives."""
    voters: int
    """Constituents that vote."""
    samples: int
    """Retained training samples."""
    tables: tuple[BomFile, ...]
    """The retained training samples of each shard."""
    files: tuple[BomFile, ...]
    """The files of the generation."""
    determinism: tuple[str, ...]
    """The determinism classes, as JSON."""
    metrics: tuple[BomMetric, ...]
    requests: int
    """Requests that took samples out."""
    revoked: int
    """Samples that were taken out."""
    exactness: str
    """exact, approximate or inconclusive: that of the least exact shard."""
    patched: int
    """Shards that are only patched."""


def model_bom(facts: BomFacts) -> dict[str, Any]:
    """Return the document."""
    libraries = list(_libraries(facts))
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'urn:raymu:{facts.run_id}:{facts.manifest_sha256}')}",
        "version": 1,
        "metadata": {
            "timestamp": facts.published_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "tools": {"components": [{"type": "application", "name": "raymu", "version": facts.written_by}]},
            "component": _model(facts),
        },
        "components": [_data(facts), *libraries],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [_DATA, *(library["bom-ref"] for library in libraries)]},
        ],
    }


def _model(facts: BomFacts) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": facts.run,
        "version": f"generation {facts.generation}",
        "description": f"Generation {facts.generation} of run {facts.run_id}: {plural(facts.voters, 'constituent')} voting.",
        "hashes": [_hash(facts.manifest_sha256)],
        "modelCard": _card(facts),
        "components": [
            {"type": "file", "bom-ref": f"file:{file.path}", "name": file.path, "hashes": [_hash(file.sha256)]}
            for file in facts.files
        ],
    }


def _card(facts: BomFacts) -> dict[str, Any]:
    family = _FAMILIES.get(facts.model or "")
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": _TASKS[facts.target],
        **({"architectureFamily": family} if family else {}),
        "modelArchitecture": f"SISA ensemble of {facts.model or 'models of a factory'}",
        "datasets": [{"ref": _DATA}],
        "inputs": [{"format": _format(name, shape)} for name, shape in facts.inputs.items()],
        "outputs": [{"format": f"{facts.outputs} {'numbers' if facts.target == 'regression' else 'probabilities'}"}],
    }
    metrics = [
        {"type": metric.name, "value": repr(metric.value), "slice": f"the run's test data, {metric.samples} samples"}
        for metric in facts.metrics
    ]
    return {
        "modelParameters": parameters,
        **({"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}),
        "considerations": {"technicalLimitations": list(_limitations(facts))},
        "properties": [
            *(_property(name, value) for name, value in _flat(facts.settings)),
            _property("generation", facts.generation),
            _property("revocations.requests", facts.requests),
            _property("revocations.samples", facts.revoked),
            _property("revocations.exactness", facts.exactness),
            _property("revocations.patched_shards", facts.patched),
            *(_property("determinism", text) for text in facts.determinism),
        ],
    }


def _format(name: str, shape: tuple[int, ...]) -> str:
    sizes = " x ".join(str(size) for size in shape)
    array = f"array of {sizes} numbers" if sizes else "one number"
    return f"{name}: {array}" if name else array


def _limitations(facts: BomFacts) -> Iterator[str]:
    yield f"Taken out of the training data: {plural(facts.revoked, 'sample')}, by {plural(facts.requests, 'request')}."
    match facts.exactness:
        case "exact":
            yield "Exact: every shard that held such a sample was retrained without it."
        case "approximate":
            yield f"Approximate: {plural(facts.patched, 'shard')} of {len(facts.tables)} only patched, and not retrained yet."
        case _:
            yield "Inconclusive: no training from scratch is known to give the bits of some shard."


def _data(facts: BomFacts) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": "training data",
        "description": f"{plural(facts.samples, 'retained sample')}, in a table for each shard, without revoked ones.",
        "data": [{"type": "dataset", "name": "training data"}],
        "components": [
            {"type": "data", "bom-ref": f"data:{table.path}", "name": table.path, "hashes": [_hash(table.sha256)]}
            for table in facts.tables
        ],
    }


def _libraries(facts: BomFacts) -> Iterator[dict[str, Any]]:
    yield _library("raymu", facts.created_by)
    versions = (json.loads(text).get("torch") for text in facts.determinism)
    for version in sorted({version for version in versions if version}):
        yield _library("torch", version)


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{quote(version, safe='.-_~')}"
    reference = f"library:{name}@{version}"
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": purl}


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}


def _property(name: str, value: object) -> dict[str, str]:
    return {"name": f"raymu:{name}", "value": value if isinstance(value, str) else json.dumps(value)}


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting that has a value, by its name with dots."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif value not in (None, [], ()):
            yield f"{above}{name}", value
