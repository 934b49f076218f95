"""Settings as plain trees: read from a YAML file, with overrides."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from raymu.errors import ConfigInvalid
from raymu.text import one_line


def read_settings(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Read a YAML file and apply overrides.

    Args:
        path: Path of the file.
        overrides: Settings such as `training.epochs=3`, or whole branches such as `model={name: mlp}`.

    Raises:
        ConfigInvalid: The file cannot be read, is not YAML, or an override cannot be applied.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        raise ConfigInvalid(f"{path}: cannot be read ({one_line(error)}); give the path of a YAML file") from error
    tree = _parse(text, source=str(path))
    if not isinstance(tree, dict):
        raise ConfigInvalid(f"{path}: has no settings; write them as name: value")
    for override in overrides:
        _apply(override, tree)
    return tree


def _apply(override: str, tree: dict[str, Any]) -> None:
    """Set what an override names, and create missing branches above it."""
    dotted, equals, text = override.partition("=")
    *branches, name = dotted.split(".")
    is_named = equals and all((*branches, name))
    value = _parse(text, source=dotted) if is_named else None
    if not is_named or not (branches or isinstance(value, dict | str)):  # the top of the tree consists of branches
        raise ConfigInvalid(f"{one_line(repr(override))} is not a setting; write it as training.epochs=3")
    for branch in branches:
        if tree.get(branch) is None:
            tree[branch] = {}
        tree = tree[branch]
        if not isinstance(tree, dict):
            raise ConfigInvalid(f"{dotted} cannot be set: {branch} is a single value")
    tree[name] = value


class _Loader(yaml.SafeLoader):
    """Refuses a setting that is given twice; YAML itself silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated[0]} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _parse(text: str, *, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = one_line(getattr(error, "problem", None) or error)
        raise ConfigInvalid(f"{source}: not YAML ({line}{problem}); put text with special letters in quotes") from error
