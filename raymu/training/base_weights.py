"""The weights that all shards of a run begin with: stored once in the run, by their hash.

A run has them if its model reads local files, or if only a part of the model is trained. They depend on no sample. Where
they are frozen, checkpoints leave them out.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from raymu.config import AdaptersConfig, ModelConfig, Trainable
from raymu.config.training import ModelName
from raymu.core.partition import derive_seed
from raymu.errors import ConfigInvalid
from raymu.training.adapters import insert_adapters
from raymu.training.architectures.texts import folder_config
from raymu.training.checkpoint_format import deserialize, serialize
from raymu.training.checkpoint_metadata import read_metadata
from raymu.training.heads import find_head
from raymu.training.models import Shape, build_model
from raymu.training.randomness import seed_everything

_MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class BaseWeights:
    """The weights of a run's file."""

    sha256: str
    """Of the file, hex."""
    model: ModelConfig
    """The model, without files that its weights were read from."""
    tensors: Mapping[str, Tensor]
    """Name in `state_dict` -> value. Models may share the memory of those that are frozen."""

    def __repr__(self) -> str:
        return f"BaseWeights({self.sha256})"

    @property
    def frozen(self) -> Mapping[str, Tensor]:
        """The tensors that a checkpoint leaves out unless they changed; none if everything is trained."""
        return {} if self.model.trainable is Trainable.ALL else self.tensors

    @classmethod
    def read(cls, payload: bytes, *, source: str) -> "BaseWeights":
        """Read a file that `dump_base` wrote. Raises FileCorrupt, naming `source`."""
        return cls(
            sha256=hashlib.sha256(payload).hexdigest(),
            model=_MODEL.validate_python(read_metadata(payload)["model"]),
            tensors=deserialize(payload, source=source),
        )


def has_base(model: ModelConfig) -> bool:
    """Tell whether a run of this model has base weights."""
    return model.trainable is not Trainable.ALL or bool({"weights", "path"} & model.args.keys() & _files(model))


def _files(model: ModelConfig) -> set[str]:
    """Return the arguments that name files."""
    if model.name is None or not model.name.is_library:
        return set()
    return {"path"} if model.name is ModelName.TRANSFORMERS else {"weights"}


def dump_base(model: ModelConfig, *, input_shape: Shape, classes: int, seed: int) -> bytes:
    """Build a model as it is configured, and write the weights that all shards begin with.

    Args:
        model: The configured model. Its local files are read.
        input_shape: Shape of one sample's inputs.
        classes: Outputs of the model.
        seed: The run's seed, from which new weights derive.

    Raises:
        ConfigInvalid: It cannot be built, or the file of its weights is of another model.
    """
    seed_everything(derive_seed(seed, "base weights"))
    module = build_model(model, input_shape=input_shape, classes=classes)
    own = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
    freeze(module, model)
    tensors = {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if id(tensor) in own and isinstance(tensor, Tensor)
    }
    return serialize(tensors, {"model": _MODEL.dump_python(_without_files(model), mode="json")})


def _without_files(model: ModelConfig) -> ModelConfig:
    """Return the settings of the same model without its files, which other machines do not have."""
    files = _files(model) & model.args.keys()
    args: dict[str, Any] = {name: value for name, value in model.args.items() if name not in files}
    if "path" in files and model.args["path"] is not None:
        kind, settings = folder_config(str(model.args["path"]))
        args |= {"architecture": kind, "settings": settings | dict(args.get("settings") or {})}
    return replace(model, args=args)


def freeze(module: nn.Module, model: ModelConfig) -> None:
    """Freeze what is not trained, and insert adapters, from torch's random state. Raises ConfigInvalid."""
    if model.trainable is Trainable.ALL:
        return
    _, head = find_head(module, model.head)
    if model.trainable is Trainable.ADAPTERS:
        insert_adapters(module, model.adapters or AdaptersConfig(), head=head)
        return
    trained = {id(parameter) for parameter in head.parameters()}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def build_on_base(base: BaseWeights, *, input_shape: Shape, classes: int) -> nn.Module:
    """Build a model of a shard: new adapters from torch's random state, and everything else as the base has it.

    Raises ConfigInvalid if the base is of another model.
    """
    module = build_model(base.model, input_shape=input_shape, classes=classes)
    freeze(module, base.model)
    own = module.state_dict(keep_vars=True)
    for name, tensor in base.tensors.items():
        mine = own.get(name)
        if not isinstance(mine, Tensor) or mine.shape != tensor.shape:
            raise ConfigInvalid(
                f"model: the run's base weights do not fit it (at {name}); restore the former version of its code"
            )
        if isinstance(mine, nn.Parameter) and not mine.requires_grad:
            mine.data = tensor  # shared: nobody writes to it
        else:
            with torch.no_grad():
                mine.copy_(tensor)
    return module
