"""Where code keeps a value: an attribute, a member, a global or a closure's variable, which can be given another value."""

import sys
import types
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from raymu.training.reachable import members_of, reachable

Setter: TypeAlias = Callable[[Any], None]


def places(roots: Mapping[str, object], paths: Collection[str]) -> dict[str, tuple[object, Setter]]:
    """Find the values that `reachable` names by some paths, with what gives each another value.

    Args:
        roots: Name -> object.
        paths: The names of values.

    Returns:
        Path -> the value, and what sets it. Values that cannot be set are left out.
    """
    settable: dict[str, tuple[object, Setter]] = {}
    for owner_path, owner in reachable(roots):
        for path, value in members_of(owner_path, owner):
            if path in paths and path not in settable and (setter := _setter(owner_path, owner, path)) is not None:
                settable[path] = value, setter
    return settable


def _setter(owner_path: str, owner: Any, path: str) -> Setter | None:
    name = path.rpartition(".")[2]
    is_own = path == f"{owner_path}.{name}"
    match owner:
        case dict():
            keys = [key for number, key in enumerate(owner) if path == f"{owner_path}.{_label(key, number)}"]
            return _member(owner, keys[0]) if keys else None
        case list() | deque():
            return _member(owner, int(name)) if is_own and name.isdecimal() else None
        case types.FunctionType():
            return _of_function(owner, name, path, is_own=is_own)
        case tuple():
            return None
    kind = owner if isinstance(owner, type) else type(owner)
    if is_own and not isinstance(owner, type):
        return lambda value: setattr(owner, name, value)
    for base in kind.__mro__:
        if path == f"{base.__qualname__}.{name}" and name in vars(base):
            return _attribute(base, name)
    return None


def _of_function(function: types.FunctionType, name: str, path: str, *, is_own: bool) -> Setter | None:
    if is_own and name in function.__code__.co_freevars:
        cell = (function.__closure__ or ())[function.__code__.co_freevars.index(name)]
        return _attribute(cell, "cell_contents")
    if is_own:
        return _member(vars(function), name) if name in vars(function) else None
    module = sys.modules.get(path.removesuffix(f".{name}"))
    if module is not None and name in vars(module):
        return _attribute(module, name)
    return None


def _label(key: object, number: int) -> str:
    return key if isinstance(key, str) else str(number)


def _member(owner: Any, key: Any) -> Setter:
    def set_member(value: Any) -> None:
        owner[key] = value

    return set_member


def _attribute(owner: object, name: str) -> Setter:
    return lambda value: setattr(owner, name, value)
