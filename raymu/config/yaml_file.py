"""Settings as plain trees: read from a YAML file, with overrides."""

import codecs
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from raymu.config.limits import MAX_DEPTH, MAX_FILE_BYTES, MAX_VALUES, check_tree
from raymu.errors import ConfigInvalid
from raymu.input_file import read_input
from raymu.text import one_line


def read_settings(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Read a YAML file and apply overrides.

    Args:
        path: Path of the file, in UTF-8, or in UTF-16 with a byte order mark.
        overrides: Settings such as `training.epochs=3`, or whole branches such as `model={name: mlp}`.

    Raises:
        ConfigInvalid: The file cannot be read, is not YAML, is beyond a limit, or an override cannot be applied.
    """
    try:
        payload = read_input(path, largest=MAX_FILE_BYTES)
        is_wide = payload.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = payload.decode("utf-16" if is_wide else "utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: another encoding
        raise ConfigInvalid(f"{path}: cannot be read ({one_line(error)}); give the path of a YAML file") from error
    tree = _parse(text, source=str(path))
    if not isinstance(tree, dict):
        raise ConfigInvalid(f"{path}: has no settings; write them as name: value")
    for override in overrides:
        _apply(override, tree)
    check_tree(tree)
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
    """Refuses what YAML itself takes silently or for ever: names given twice, deep nesting, anchors that expand."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise _refusal(f"nested more than {MAX_DEPTH} deep", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_document(self) -> yaml.Node | None:
        node = super().compose_document()
        if node is not None and _values(node, {}) > MAX_VALUES:
            raise _refusal(f"more than {MAX_VALUES:,} values, anchors expanded", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated:
            raise _refusal(f"{repeated[0]} is given twice", node.start_mark)
        if any(not isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise _refusal("a name is a mapping or a list, not text", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            shown = one_line(repr(node.value), longest=40)
            raise _refusal(f"{shown} cannot be read as {kind}", node.start_mark) from error


def _refusal(problem: str, mark: yaml.Mark) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values below a node, each as often as anchors repeat it.

    Args:
        node: The node.
        known: The numbers of nodes that were counted before, by identity; too large for a node that is being counted.
    """
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # an anchor within itself never ends
        members = (
            node.value
            if isinstance(node, yaml.SequenceNode)
            else [part for pair in node.value for part in pair]
            if isinstance(node, yaml.MappingNode)
            else []
        )
        known[id(node)] = 1 + sum(_values(member, known) for member in members)
    return known[id(node)]


def _parse(text: str, *, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = one_line(getattr(error, "problem", None) or error)
        raise ConfigInvalid(f"{source}: not YAML ({line}{problem}); put text with special letters in quotes") from error
