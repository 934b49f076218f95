"""Settings as plain trees: from YAML and overrides; and what is wrong with one, in one line."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raymu.errors import ConfigInvalid
from raymu.text import one_line

_MOST_COMPLAINTS = 3
_UNION_TAG = re.compile(r"str|float|Normalization|constrained-.*|.*\[.*")
"""Parts of a place by which pydantic names the kinds that a setting may be of, and not a setting."""
_SAID: Mapping[str, str] = {
    "unexpected_keyword_argument": "no such setting",
    "extra_forbidden": "no such setting",
    "missing": "must be given",
    "missing_argument": "must be given",
    "missing_keyword_only_argument": "must be given",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "is_instance_of": "must be a list",
    "sequence_str": "must be a list",
    "too_short": "must not be empty",
    "dict_type": "must be settings, such as {name: value}",
    "mapping_type": "must be settings, such as {name: value}",
    "dataclass_type": "must be settings, such as {name: value}",
}


def read_settings(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The tree of a YAML file. overrides: dotted `key=value` settings. Raises ConfigInvalid."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8
        raise ConfigInvalid(f"{path}: cannot be read ({one_line(error)}); give the path of a YAML file") from error
    tree = _read_yaml(text, source=str(path))
    if not isinstance(tree, dict):
        raise ConfigInvalid(f"{path}: holds no settings; write them as name: value")
    for override in overrides:
        _override(tree, override)
    return tree


def _override(tree: dict[str, Any], text: str) -> None:
    dotted, separator, value = text.partition("=")
    *branches, leaf = dotted.split(".")
    if not separator or not branches or not all((*branches, leaf)):
        raise ConfigInvalid(f"{one_line(repr(text))} is no setting; write it as training.epochs=3")
    for branch in branches:
        if tree.get(branch) is None:
            tree[branch] = {}
        tree = tree[branch]
        if not isinstance(tree, dict):
            raise ConfigInvalid(f"{dotted} cannot be set: {branch} is a single value")
    tree[leaf] = _read_yaml(value, source=dotted)


class _Yaml(yaml.SafeLoader):
    """Where a setting is given twice, YAML itself takes the last, and nobody notices."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str, *, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Yaml)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = one_line(getattr(error, "problem", None) or error)
        raise ConfigInvalid(
            f"{source}: not YAML ({place}{problem}); put text with special letters in quotes"
        ) from error


def format_validation_error(error: ValidationError) -> str:
    """What is wrong with which setting, in one line; of each place once, whatever kinds it might have been of."""
    by_place: dict[tuple[str, ...], list[str]] = {}
    for detail in error.errors():
        place = tuple(str(part) for part in detail["loc"] if not _UNION_TAG.fullmatch(str(part)))
        message = _SAID.get(detail["type"], detail["msg"].removeprefix("Value error, "))
        by_place.setdefault(place, []).append(message)
    said = [
        f"{'.'.join(place)}: {' or '.join(messages)}".removeprefix(": ")
        for place, messages in by_place.items()
        # Where one kind fits but for a part, that part is worth a word, and the other kinds are not.
        if not any(len(other) > len(place) and other[: len(place)] == place for other in by_place)
    ]
    more = f"; and {len(said) - _MOST_COMPLAINTS} more" if len(said) > _MOST_COMPLAINTS else ""
    return one_line("; ".join(said[:_MOST_COMPLAINTS])) + more
