"""Formats of an exported ensemble: each row of `EXPORTS` writes files of one `EnsembleModule` into a folder."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import safetensors.torch
import torch
from torch import Tensor

from raymu.errors import ConfigInvalid, RequestInvalid
from raymu.text import one_line
from raymu.training.ensemble_module import EnsembleModule
from raymu.training.inputs import BatchInputs

ONNX_OPSET = 20
"""Version of ONNX's operators that exports use."""
Dynamic: TypeAlias = Any
"""What `torch.export` is given for one batch: which of its sizes vary."""
_SAMPLES = torch.export.Dim("samples")


class ExportFormat(StrEnum):
    """What an export is written as."""

    PT2 = "pt2"
    """A program of `torch.export`: ensemble.pt2. It needs PyTorch, and neither raymu nor the model's code."""
    ONNX = "onnx"
    """ensemble.onnx."""
    SAFETENSORS = "safetensors"
    """The tensors of all constituents, ensemble.safetensors, and how to combine them, ensemble.json."""


def formats_of(names: Sequence[str]) -> tuple[ExportFormat, ...]:
    """Return formats by their names, each once. Raises RequestInvalid."""
    if isinstance(names, str) or not names:
        raise RequestInvalid("formats must be a list, of any of " + ", ".join(ExportFormat))
    for name in names:
        if name not in set(ExportFormat):
            raise RequestInvalid(f"{one_line(name)} is no format of an export; choose from {', '.join(ExportFormat)}")
    return tuple(dict.fromkeys(ExportFormat(name) for name in names))


def export_module(
    module: EnsembleModule, examples: Sequence[BatchInputs], formats: Sequence[ExportFormat], folder: Path
) -> None:
    """Write a module in several formats.

    Args:
        module: The ensemble.
        examples: Batches that it can be called with, of two samples or more. Their values may end up in a file.
        formats: What to write.
        folder: An empty folder.

    Raises:
        ConfigInvalid: A package is missing, or the model cannot be traced.
    """
    for export_format in formats:
        EXPORTS[export_format](module, examples, folder)


def _export_pt2(module: EnsembleModule, examples: Sequence[BatchInputs], folder: Path) -> None:
    torch.export.save(_traced(module, examples), folder / "ensemble.pt2")


def _export_onnx(module: EnsembleModule, examples: Sequence[BatchInputs], folder: Path) -> None:
    try:
        import onnxscript  # noqa: F401  # torch.onnx needs it, and says so in many lines
    except ImportError as error:
        raise ConfigInvalid("format onnx needs onnx and onnxscript; install raymu[onnx]") from error
    program = _traced(module, examples)
    names = input_names(examples)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about its own parts
            written = torch.onnx.export(
                program, input_names=names, output_names=["predictions"], opset_version=ONNX_OPSET, verbose=False
            )
            assert written is not None
            written.save(folder / "ensemble.onnx")
    except Exception as error:  # of torch.onnx, which has a class for each of its steps
        raise RequestInvalid(f"the model cannot be written as ONNX ({one_line(error)}); choose pt2") from error


def _export_safetensors(module: EnsembleModule, _examples: Sequence[BatchInputs], folder: Path) -> None:
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in module.named_state().items()}
    safetensors.torch.save_file(tensors, folder / "ensemble.safetensors")
    (folder / "ensemble.json").write_text(json.dumps(module.description(), indent=2) + "\n", encoding="utf-8")


EXPORTS: Mapping[ExportFormat, Callable[[EnsembleModule, Sequence[BatchInputs], Path], None]] = {
    ExportFormat.PT2: _export_pt2,
    ExportFormat.ONNX: _export_onnx,
    ExportFormat.SAFETENSORS: _export_safetensors,
}
"""Each row takes the module, batches to trace it with, and the folder."""


def input_names(examples: Sequence[BatchInputs]) -> list[str]:
    """Return the names of the inputs of an ONNX file, in the order of the module's."""
    names = []
    for number, batch in enumerate(examples):
        suffix = f"_{number}" if len(examples) > 1 else ""
        names += [f"{name}{suffix}" for name in batch] if isinstance(batch, Mapping) else [f"features{suffix}"]
    return names


def _traced(module: EnsembleModule, examples: Sequence[BatchInputs]) -> torch.export.ExportedProgram:
    """Trace a module for batches of any number of samples. Raises RequestInvalid."""
    shapes = tuple(_dynamic(batch) for batch in examples)
    try:
        with torch.no_grad():
            return torch.export.export(module, tuple(examples), dynamic_shapes={"batches": shapes}, strict=False)
    except Exception as error:  # whatever the model's own code raises when it is traced
        raise RequestInvalid(
            f"the model cannot be traced by torch.export ({one_line(error)}); choose the format safetensors, "
            "or use Run.module() in Python"
        ) from error


def _dynamic(batch: BatchInputs) -> Dynamic:
    """Describe which sizes of a batch may vary: the number of samples, and lengths where the model allows it."""
    if isinstance(batch, Mapping):
        return {name: _dynamic_part(part) for name, part in batch.items()}
    return _dynamic_part(batch)


def _dynamic_part(part: Tensor) -> Dynamic:
    lengths = [
        dimension for dimension in range(1, part.ndim) if part.shape[dimension] > 1
    ]  # those of one value are fixed
    return {0: _SAMPLES} | dict.fromkeys(lengths, torch.export.Dim.AUTO)
