"""Libraries that raymu works without: each is imported when a setting first needs it."""

import importlib
from contextlib import suppress
from types import ModuleType

import torch

from raymu.errors import ConfigInvalid
from raymu.text import one_line

_EXTRAS = {
    "accelerate": "adapters",
    "peft": "adapters",
    "PIL": "vision",
    "timm": "vision",
    "torchvision": "vision",
    "transformers": "text",
}
"""Library -> the extra of raymu that installs it."""
_OPERATORS = ("nms", "qnms")
"""Operators of torchvision that its Python code expects its compiled part to declare."""
_operators: list[torch.library.Library] = []
"""Alive as long as the process: a library that is collected takes its operators along."""


def import_library(name: str, *, setting: str) -> ModuleType:
    """Import an optional library, or a module of it.

    Args:
        name: Such as `timm`, or `torchvision.transforms.v2`.
        setting: Name of the setting that needs it, for messages: `model`.

    Raises:
        ConfigInvalid: It is not installed, or cannot be imported.
    """
    top = name.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        raise ConfigInvalid(f"{setting}: needs {top}; install raymu[{_EXTRAS[top]}]")
    if importlib.util.find_spec("torchvision") is not None:  # timm and transformers import it too
        _declare_operators()
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a library's own code raises, such as for another version of PyTorch
        raise ConfigInvalid(f"{setting}: {name} cannot be imported ({one_line(error)}); install it anew") from error


def _declare_operators() -> None:
    """Declare operators of torchvision that its compiled part does not, so that its models and transforms can be used.

    A build of torchvision for CUDA does not load its compiled part beside a build of PyTorch for the CPU, and then cannot be
    imported at all. Only detection needs these operators; without the compiled part it fails when it calls them.
    """
    if _operators:
        return
    with suppress(Exception):  # it is imported, or its compiled part loads
        importlib.import_module("torchvision")
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    _operators.append(library)
    for name in _OPERATORS:
        with suppress(RuntimeError):  # declared
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
