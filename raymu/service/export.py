"""Exports: copies of the served generation outside of its run, for programs without raymu."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from raymu.core.records import Generation
from raymu.data.stored_rows import read_rows
from raymu.errors import RequestInvalid, StorageFailed
from raymu.output_file import check_output_folder
from raymu.service.export_document import DOCUMENT, read_document, write_document
from raymu.service.prediction import Ensemble
from raymu.service.served import waiting_requests
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from raymu.training.ensemble_module import EnsembleModule
from raymu.training.export_formats import ExportFormat, export_module, input_names
from raymu.training.inputs import BatchInputs

_EXAMPLES, _TRACED = 64, 2
"""Samples whose shapes are looked at, and samples of such shapes that a module is traced with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """One export."""

    out: str
    """The folder."""
    generation: int
    formats: tuple[str, ...]
    files: tuple[str, ...]
    """Names of its files."""


def served_module(store: RunStore) -> EnsembleModule:
    """Return the served generation as a module on the CPU, in evaluation mode. Raises what `Ensemble.current` raises."""
    return Ensemble.current(store, device=torch.device("cpu")).module()


def export_run(store: RunStore, out: Path, formats: Sequence[ExportFormat]) -> Export:
    """Write the served generation into a folder, together with export.json.

    The folder appears whole or not at all. An earlier export of the same run that is there is replaced, and destroyed.

    Args:
        store: The run.
        out: A new folder, or one with an earlier export of the run.
        formats: What to write.

    Raises:
        RequestInvalid: The folder cannot be written, the model cannot be traced, or accepted requests wait for a state
            that saw their samples.
        ConfigInvalid: A package is missing.
        RaymuError: What reading the run raises.
    """
    _require_writable(store, out)
    if (waiting := waiting_requests(store)) and waiting.is_kept:
        raise RequestInvalid(f"nothing is exported: {waiting}")
    ensemble = Ensemble.current(store, device=torch.device("cpu"))
    module = ensemble.module()
    examples = _examples(store, ensemble.generation, module)
    partial = out.absolute().with_name(f".{out.name}.{uuid4().hex}.partial")
    try:
        partial.mkdir()
        chosen = tuple(dict.fromkeys(formats))
        export_module(module, examples, chosen, partial)
        facts = _facts(store, examples)
        write_document(store, ensemble.generation, facts, partial, [str(name) for name in chosen])
        names = tuple(sorted(path.name for path in partial.iterdir()))
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    except OSError as error:
        raise StorageFailed(str(out), error.strerror or str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Export(out=str(out), generation=ensemble.generation.number, formats=chosen, files=names)


def _require_writable(store: RunStore, out: Path) -> None:
    """Raise RequestInvalid unless a folder is new, empty, or has nothing but an earlier export of the run."""
    check_output_folder(out, run=None if store.files.local is None else str(store.files.local), may_have_files=True)
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / DOCUMENT).exists():
        raise RequestInvalid(f"{out}: has files that are no export; name a new folder")
    document = read_document(out)
    own = {DOCUMENT, *(file.get("path") for file in document["files"] if isinstance(file, dict))}
    if document["run"] != store.manifest.run_id or any(path.name not in own for path in out.iterdir()):
        raise RequestInvalid(f"{out}: has files that are no export of this run; name a new folder")


def _examples(store: RunStore, generation: Generation, module: EnsembleModule) -> tuple[BatchInputs, ...]:
    """Return batches of the types and shapes that the module takes, all zeros: no value of a sample gets into a file."""
    if module.takes_arrays:
        return (torch.zeros(_TRACED, *store.manifest.input_shape, dtype=module.dtype),)
    lineage = max(generation.lineages, key=lambda lineage: lineage.samples)
    rows = read_rows(read_shard_samples(store, lineage.table).features[:_EXAMPLES])
    return tuple(_zeros(batch) for batch in module.encode(rows))


def _zeros(batch: BatchInputs) -> BatchInputs:
    if isinstance(batch, Tensor):
        return torch.zeros_like(batch[:_TRACED])
    return {name: torch.zeros_like(part[:_TRACED]) for name, part in batch.items()}


def _facts(store: RunStore, examples: Sequence[BatchInputs]) -> dict[str, Any]:
    """Say what the module takes and returns, in plain JSON values."""
    classes, config = store.manifest.class_table, store.config
    parts = [part for batch in examples for part in ([batch] if isinstance(batch, Tensor) else batch.values())]
    inputs = [
        {"name": name, "dtype": str(part.dtype).removeprefix("torch."), "shape": list(part.shape[1:])}
        for name, part in zip(input_names(examples), parts, strict=True)
    ]
    return {
        "task": str(config.task),
        "target": str(config.task.target),
        "aggregation": str(config.unlearning.aggregation),
        "inputs": inputs,
        "outputs": {"count": classes.count, "classes": classes.names and list(classes.names)},
        "torch_version": torch.__version__,
    }
