"""The objects that a user's code can reach from a model: what it keeps outside of parameters and buffers."""

import functools
import inspect
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOST_OBJECTS = 50_000
"""Objects that are visited at most: a table of words that a model holds is not its state."""
MOST_MEMBERS = 1_000
"""Members of a list or a dictionary that are visited at most."""
IN_GENERATOR = "yield"
"""Part of the path of a variable of a generator that is under way, which nothing can set."""
_CHECKPOINTED = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training"})
_OPTIMIZER_STATE = frozenset({"state", "defaults", "_zero_grad_profile_name", "_patch_step_function"})


def reachable(roots: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the objects that are reached from some, each once, with a path that names it.

    Followed are attributes, containers, the variables and globals that a user's functions use, and the attributes of their
    classes. Parameters and buffers are left out: checkpoints hold these.

    Args:
        roots: Name -> object.
    """
    seen: set[int] = set()
    registered = {id(part) for root in roots.values() if isinstance(root, nn.Module) for part in root.modules()}
    waiting: deque[tuple[str, object]] = deque(roots.items())
    while waiting and len(seen) < MOST_OBJECTS:
        path, item = waiting.popleft()
        if id(item) in seen and not isinstance(item, int | float | str | bool | type(None)):
            continue
        seen.add(id(item))
        yield path, item
        waiting.extend(members_of(path, item))
        if isinstance(item, nn.Module) and id(item) not in registered:  # as in a list: no checkpoint has its tensors
            own = (*item.named_parameters(recurse=False), *item.named_buffers(recurse=False))
            waiting.extend((f"{path}.{name}", tensor) for name, tensor in own)


def is_users_module(name: str | None) -> bool:
    """Tell whether a module is the user's own code: neither Python's, nor installed, nor raymu's."""
    top = (name or "builtins").partition(".")[0]
    if top in sys.stdlib_module_names or top in ("raymu", "torch", "numpy"):
        return False
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    return file is None or not is_installed(file)


def is_installed(file: str) -> bool:
    """Tell whether a module's file is in a folder of installed distributions."""
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def members_of(path: str, owner: object) -> Iterator[tuple[str, object]]:
    """Yield what an object leads to at once, each with its path. path: that of the object"""
    match owner:
        case Tensor() | np.ndarray() | torch.Generator() | str() | bytes() | int() | float() | complex() | None:
            return
        case nn.Module():
            for name, value in vars(owner).items():
                if name not in _CHECKPOINTED:
                    yield f"{path}.{name}", value
            yield from ((f"{path}.{name}", child) for name, child in owner.named_children())
            yield from _of_class(type(owner))
        case Optimizer():
            for name, value in vars(owner).items():
                if name == "param_groups":
                    groups = (
                        {key: kept for key, kept in group.items() if key not in ("params", "lr")} for group in value
                    )
                    yield from ((f"{path}.param_groups.{number}", group) for number, group in enumerate(groups))
                elif name not in _OPTIMIZER_STATE:
                    yield f"{path}.{name}", value
            yield from _of_class(type(owner))
        case types.FunctionType():
            yield from _of_function(path, owner)
        case types.GeneratorType():  # `probe` knows it by this path
            running = owner.gi_frame.f_locals if owner.gi_frame is not None else {}
            yield from ((f"{path}.{IN_GENERATOR}.{name}", value) for name, value in running.items())
        case types.MethodType():
            yield from ((path, owner.__self__), (path, owner.__func__))
        case types.BuiltinFunctionType():
            if not isinstance(owner.__self__, types.ModuleType):
                yield path, owner.__self__
        case functools.partial():
            yield from ((path, owner.func), (path, owner.args), (path, owner.keywords))
        case dict():
            pairs = list(owner.items())[:MOST_MEMBERS]
            yield from (
                (f"{path}.{key if isinstance(key, str) else number}", value)
                for number, (key, value) in enumerate(pairs)
            )
        case list() | tuple() | deque():
            yield from ((f"{path}.{number}", value) for number, value in enumerate(list(owner)[:MOST_MEMBERS]))
        case type():
            yield from _of_class(owner)
        case types.ModuleType():
            return  # a function names the members that it uses
        case _ if _is_of_python(type(owner)):
            return  # such as a logger, which knows all others
        case _:
            for name in _attributes(owner):
                try:
                    yield f"{path}.{name}", object.__getattribute__(owner, name)
                except AttributeError:
                    continue
            yield from _of_class(type(owner))


def _is_of_python(kind: type) -> bool:
    top = kind.__module__.partition(".")[0]
    return top in sys.stdlib_module_names and top not in ("__main__", "builtins", "types")


def _attributes(owner: object) -> list[str]:
    slots = [name for kind in type(owner).__mro__ for name in _listed(vars(kind).get("__slots__", ()))]
    return [*getattr(owner, "__dict__", {}), *slots]


def _listed(names: object) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names) if isinstance(names, tuple | list) else ()


def _of_class(kind: type) -> Iterator[tuple[str, object]]:
    """Yield the attributes and functions of a class and its bases, as far as they are the user's."""
    for base in kind.__mro__:
        if not is_users_module(base.__module__) or base is object:
            continue
        for name, value in list(vars(base).items()):
            if name.startswith("__") and name not in ("__call__", "__init__"):
                continue
            if isinstance(value, staticmethod | classmethod):
                value = value.__func__
            elif isinstance(value, property):
                value = value.fget
            if not isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType):
                yield f"{base.__qualname__}.{name}", value


def _of_function(path: str, function: types.FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{path}.{name}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from ((f"{path}.default", value) for value in function.__defaults__ or ())
    yield from ((f"{path}.{name}", value) for name, value in (function.__kwdefaults__ or {}).items())
    yield from ((f"{path}.{name}", value) for name, value in vars(function).items())
    if not is_users_module(function.__module__):
        return
    names = _names(function.__code__)
    for name in names:
        value = function.__globals__.get(name)
        if value is None:
            continue
        if isinstance(value, types.ModuleType):
            if is_users_module(value.__name__):
                yield from ((f"{value.__name__}.{key}", vars(value)[key]) for key in names if key in vars(value))
        else:
            yield f"{function.__module__}.{name}", value


def _names(code: types.CodeType) -> tuple[str, ...]:
    """List the global names and attributes that code uses, with those of the functions inside."""
    inner = (constant for constant in code.co_consts if inspect.iscode(constant))
    return tuple(dict.fromkeys((*code.co_names, *(name for each in inner for name in _names(each)))))
