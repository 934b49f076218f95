"""The state of a model, as tensors: parameters, buffers, buffers that `state_dict` leaves out, and extra state."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raymu.training.checkpoint_format import Tensors, strip_prefix, tensor_bytes

MODEL, TRANSIENT = "model.", "transient."
"""Prefixes of the names of tensors in a checkpoint: of `state_dict`, and of non-persistent buffers."""
_EXTRA, _AS_JSON = "_extra_state", ".json"


class ModelState:
    """Writes and reads the state of one model."""

    def __init__(self, model: nn.Module, frozen: Tensors | None = None) -> None:
        """Remember what a checkpoint leaves out.

        Args:
            model: A new model. Of its non-persistent buffers a checkpoint holds those that training changes.
            frozen: Tensors of `state_dict` that are stored elsewhere, by name. A checkpoint holds those that differ.
        """
        self._model, self._frozen = model, frozen or {}
        self._initial = {name: _digest(buffer) for name, buffer in _transient(model)}

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by name. Raises ValueError for extra state that is neither tensors nor JSON."""
        state = self._model.state_dict()
        if self._frozen:
            trained = {name for name, parameter in self._parameters() if parameter.requires_grad}
            state = {
                name: value for name, value in state.items() if name in trained or not self._is_frozen(name, value)
            }
        named = {MODEL + name: value for name, value in state.items()}
        for name in [name for name, value in named.items() if not isinstance(value, Tensor)]:
            named[name + _AS_JSON] = _encode(named.pop(name))
        changed = {
            TRANSIENT + name: buffer
            for name, buffer in _transient(self._model)
            if _digest(buffer) != self._initial.get(name)
        }
        return named | changed

    def load(self, tensors: Tensors) -> None:
        """Load what `tensors` returned into a new model. Raises RuntimeError if it is of another model."""
        named: dict[str, Any] = dict(strip_prefix(tensors, MODEL))
        for name in [name for name in named if name.endswith(_EXTRA + _AS_JSON)]:
            named[name.removesuffix(_AS_JSON)] = _decode(named.pop(name))
        for name, value in named.items():
            if isinstance(value, Tensor):
                self._make_room(name, value)
        self._load(named)
        for name, value in strip_prefix(tensors, TRANSIENT).items():
            module, leaf = self._owner(name)
            if leaf not in module._buffers:
                module.register_buffer(leaf, None, persistent=False)
            present = module._buffers[leaf]
            device = next(self._model.parameters()).device if present is None else present.device
            module._buffers[leaf] = value.detach().clone().to(device)

    def _load(self, named: dict[str, Any]) -> None:
        if not self._frozen:
            self._model.load_state_dict(named)
            return
        buffers = {name for name, _ in self._model.named_buffers()}
        unchanged = {name: value for name, value in self._frozen.items() if name in buffers}
        result = self._model.load_state_dict(unchanged | named, strict=False)
        if result.unexpected_keys or (missing := set(result.missing_keys) - self._frozen.keys()):
            raise RuntimeError(f"it has other tensors, such as {[*result.unexpected_keys, *sorted(missing)][0]}")

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters by every name that they have."""
        return self._model.named_parameters(remove_duplicate=False)

    def _is_frozen(self, name: str, value: Any) -> bool:
        stored = self._frozen.get(name)
        if stored is None or not isinstance(value, Tensor):
            return False
        return value.data_ptr() == stored.data_ptr() or _digest(value) == _digest(stored)

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        path, _, leaf = name.rpartition(".")
        return self._model.get_submodule(path), leaf

    def _make_room(self, name: str, value: Tensor) -> None:
        """Let a buffer that a new model lacks, or has in another shape, take a value: some models make it in training."""
        path, _, leaf = name.rpartition(".")
        try:
            module = self._model.get_submodule(path)
        except AttributeError:
            return  # of another model, which loading reports
        if leaf not in module._buffers:
            if hasattr(module, leaf) or leaf in module._parameters:
                return
            module.register_buffer(leaf, None)  # the first step makes it
        present = module._buffers[leaf]
        if present is None or present.shape != value.shape:
            device = next(self._model.parameters()).device if present is None else present.device
            module._buffers[leaf] = torch.empty_like(value, device=device)


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Copy the present state of a model, to go back to."""
    state = {name: _copy(value) for name, value in model.state_dict().items()}
    return {MODEL: state, TRANSIENT: {name: buffer.detach().clone() for name, buffer in _transient(model)}}


def go_back(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Give a model a state that `snapshot` returned."""
    model.load_state_dict({name: _copy(value) for name, value in state[MODEL].items()})
    for name, buffer in state[TRANSIENT].items():
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path)._buffers[leaf] = buffer.clone()


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _transient(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the non-persistent buffers, each with its full name."""
    for path, module in model.named_modules(remove_duplicate=False):
        for leaf in sorted(module._non_persistent_buffers_set):
            buffer = module._buffers.get(leaf)
            if buffer is not None:
                yield f"{path}.{leaf}" if path else leaf, buffer


def _digest(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype}|{tuple(tensor.shape)}|".encode())
    digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def _encode(value: Any) -> Tensor:
    """Write extra state as a tensor of bytes. Raises ValueError if it is more than tensors and JSON."""
    try:
        text = json.dumps(_plain(value), sort_keys=True, allow_nan=True)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).copy())


def _decode(tensor: Tensor) -> Any:
    return _rich(json.loads(tensor.cpu().numpy().tobytes()))


def _plain(value: Any) -> Any:
    """Return a value in JSON's terms. Tensors, tuples and dictionaries are marked, so that they come back as they were."""
    match value:
        case Tensor():
            data = base64.b64encode(tensor_bytes(value)).decode()
            return {"tensor": [str(value.dtype).removeprefix("torch."), list(value.shape), data]}
        case dict():
            return {"dict": [[_plain(key), _plain(each)] for key, each in value.items()]}
        case tuple():
            return {"tuple": [_plain(each) for each in value]}
        case list():
            return [_plain(each) for each in value]
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"it holds a {type(value).__name__}")


def _rich(value: Any) -> Any:
    match value:
        case {"tensor": [str(kind), list(shape), str(data)]}:
            raw = torch.frombuffer(bytearray(base64.b64decode(data)), dtype=torch.uint8) if data else torch.empty(0)
            return (
                raw.view(getattr(torch, kind)).reshape(shape)
                if data
                else torch.empty(shape, dtype=getattr(torch, kind))
            )
        case {"dict": list(pairs)}:
            return {_rich(key): _rich(each) for key, each in pairs}
        case {"tuple": list(members)}:
            return tuple(_rich(each) for each in members)
        case list():
            return [_rich(each) for each in value]
    return value
