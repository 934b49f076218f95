"""Architectures of transformers: classifiers of texts, and of images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue, validate_call
from torch import nn

from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.architectures.images import Shape, unknown_architecture
from raymu.training.libraries import import_library

_NOT_KEPT = frozenset(
    {
        "model_type",
        "transformers_version",
        "_name_or_path",
        "architectures",
        "dtype",
        "torch_dtype",
        "id2label",
        "label2id",
        "num_labels",
    }
)
"""Entries of a folder's configuration that say nothing about the model's shape, or that the run decides."""


@validate_call
def build_transformers(
    _input_shape: Shape,
    classes: int,
    *,
    path: str | None = None,
    architecture: str | None = None,
    settings: Mapping[str, JsonValue] | None = None,
) -> nn.Module:
    """Build a classifier of transformers.

    Args:
        _input_shape: Not used: the configuration says what the model takes.
        classes: Outputs.
        path: A local folder with config.json, and with weights or without.
        architecture: Its type, such as `bert`, without a folder.
        settings: Entries of its configuration. Beside a folder they replace the folder's.
    """
    transformers = import_library("transformers", setting="model")
    if (path is None) == (architecture is None):
        raise ConfigInvalid("model: transformers needs either path, a local folder, or architecture; give one of them")
    if path is None:
        assert architecture is not None, "one of them is given"
        return _classifier(transformers, _config(transformers, architecture, settings or {}, classes))
    kind, own = folder_config(path)
    config = _config(transformers, kind, own | dict(settings or {}), classes)
    if not has_weights(path):
        return _classifier(transformers, config)
    auto = _auto_class(transformers, config)
    # float32 whatever the file has; a head of other classes stays new, from the present random state.
    model: nn.Module = auto.from_pretrained(
        path,
        config=config,
        dtype="float32",
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
    )
    return model


def folder_config(path: str) -> tuple[str, dict[str, Any]]:
    """Return the type and the configuration of a local folder. Raises ConfigInvalid."""
    transformers = import_library("transformers", setting="model")
    if not (Path(path) / "config.json").is_file():
        raise ConfigInvalid(
            f"model.path: {path} is no folder with a config.json here; save one with save_pretrained, since nothing is "
            "downloaded"
        )
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of a folder of anyone
        raise ConfigInvalid(f"model.path: {path} is no model of transformers ({one_line(error)})") from error
    own = {name: value for name, value in config.to_diff_dict().items() if name not in _NOT_KEPT}
    return str(config.model_type), own


def has_weights(path: str) -> bool:
    """Tell whether a folder holds weights, in one file or in several."""
    return any((Path(path) / name).is_file() for name in _WEIGHT_FILES)


_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def _config(transformers: Any, architecture: str, settings: Mapping[str, Any], classes: int) -> Any:
    names = sorted(transformers.CONFIG_MAPPING.keys())
    if architecture not in names:
        raise unknown_architecture("transformers", architecture, names)
    return transformers.AutoConfig.for_model(architecture, **settings, num_labels=classes)


def _auto_class(transformers: Any, config: Any) -> Any:
    for auto in (transformers.AutoModelForSequenceClassification, transformers.AutoModelForImageClassification):
        if type(config) in auto._model_mapping:
            return auto
    raise ConfigInvalid(
        f"model.architecture: {config.model_type} of transformers has no classifier; choose another one"
    )


def _classifier(transformers: Any, config: Any) -> nn.Module:
    model: nn.Module = _auto_class(transformers, config).from_config(config, dtype="float32")
    return model
