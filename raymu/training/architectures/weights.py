"""Weights of a model from a local file."""

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from raymu.errors import ConfigInvalid
from raymu.text import one_line

_SHOWN = 3
"""Names that a message has at most."""
_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Entries under which training scripts save the weights, beside other things."""
_PREFIXES = ("module.", "_orig_mod.")
"""What wrappers of PyTorch put before the names."""


def load_weights(model: nn.Module, file: str, *, head: nn.Module | None) -> None:
    """Load weights into a model. Those of its head are left out if they are of other classes, and stay new.

    Args:
        model: The model.
        file: A file of safetensors, or of PyTorch without code.
        head: The last layers, if they are known.

    Raises:
        ConfigInvalid: The file cannot be read, or is of another model.
    """
    stored = read_weights(file)
    own = model.state_dict()
    head_names = _names_of(model, head)
    others = {name for name in head_names if name in stored and name in own and stored[name].shape != own[name].shape}
    if others or not head_names & stored.keys():
        stored = {name: tensor for name, tensor in stored.items() if name not in head_names}
        own = {name: tensor for name, tensor in own.items() if name not in head_names}
    missing = sorted(own.keys() - stored.keys())
    unknown = sorted(stored.keys() - own.keys())
    shapes = sorted(name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape)
    for names, problem in ((missing, "lacks"), (unknown, "has too much:"), (shapes, "has in another shape")):
        if names:
            shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            raise ConfigInvalid(f"model.weights: {file} is of another model; it {problem} {shown}")
    model.load_state_dict(stored, strict=False)


def read_weights(file: str) -> dict[str, Tensor]:
    """Read a file of weights. Raises ConfigInvalid."""
    path = Path(file)
    if not path.is_file():
        raise ConfigInvalid(f"model.weights: {file} is no file here; give the path of one, since nothing is downloaded")
    try:
        if path.suffix == ".safetensors":
            return _unwrapped(safetensors.torch.load_file(path))
        return _unwrapped(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # of a file of anyone
        raise ConfigInvalid(
            f"model.weights: {file} cannot be read as weights ({one_line(error)}); save a state_dict as safetensors"
        ) from error


def _unwrapped(content: object) -> dict[str, Tensor]:
    for name in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ValueError("it is no table of tensors by name")
    for prefix in _PREFIXES:
        content = {str(name).removeprefix(prefix): tensor for name, tensor in content.items()}
    return content


def _names_of(model: nn.Module, part: nn.Module | None) -> set[str]:
    """Return the names that the tensors of a part have in the model."""
    paths = [path for path, module in model.named_modules() if module is part and part is not None]
    return {name for name in model.state_dict() for path in paths if name.startswith(f"{path}.")}
