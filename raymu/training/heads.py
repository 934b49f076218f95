"""The last layers of a model, which stay trainable where the others are frozen."""

from torch import nn

from raymu.errors import ConfigInvalid
from raymu.text import did_you_mean

_NAMES = ("fc", "classifier", "heads", "head", "score")
"""Names that timm, torchvision and transformers give to their last layers."""


def find_head(model: nn.Module, name: str | None) -> tuple[str, nn.Module]:
    """Find the last layers of a model.

    Args:
        model: The model, without adapters.
        name: Their name, or its ending; None looks for the names that libraries use, and for a last linear layer.

    Returns:
        The whole name, and the layers.

    Raises:
        ConfigInvalid: The model has none of that name, or none is found.
    """
    modules = {path: module for path, module in model.named_modules() if path}
    if name is not None:
        paths = [path for path in modules if path == name] or [path for path in modules if path.endswith(f".{name}")]
        if len(paths) != 1:
            problem = "several" if paths else "no"
            raise ConfigInvalid(f"model.head: the model has {problem} layers {name!r}{did_you_mean(name, modules)}")
        return paths[0], modules[paths[0]]
    of_timm = getattr(getattr(model, "model", model), "get_classifier", None)
    if callable(of_timm):
        layers = of_timm()
        paths = [path for path, module in modules.items() if module is layers and _has_weights(module)]
        if paths:
            return paths[0], modules[paths[0]]
    candidates = [f"{prefix}{each}" for prefix in ("", "model.") for each in _NAMES]
    for path in candidates:
        if path in modules and _has_weights(modules[path]):
            return path, modules[path]
    if isinstance(model, nn.Sequential) and isinstance(model[-1], nn.Linear):
        path = str(len(model) - 1)
        return path, modules[path]
    raise ConfigInvalid("model.head: the last layers are not found; name them, as `named_modules` of the model does")


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
