"""Validation errors as one line in plain words, instead of those of pydantic."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raymu.text import did_you_mean, one_line

_MAX_PROBLEMS = 3
_UNION_TAG = re.compile(r"str|float|int|Normalization|constrained-.*|.*\[.*")
"""Parts of a location by which pydantic names the members of a union, and not a setting."""
_UNKNOWN = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
_MUST_BE_TEXT, _MUST_BE_LIST = "must be text", "must be a list"
_MUST_BE_SETTINGS = "must be settings, such as {name: value}"
_NOT_EMPTY = "must not be empty"

_WRONG_KINDS: Mapping[str, str] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": _MUST_BE_TEXT,
    "tuple_type": _MUST_BE_LIST,
    "list_type": _MUST_BE_LIST,
    "is_instance_of": _MUST_BE_LIST,
    "sequence_str": _MUST_BE_LIST,
    "dict_type": _MUST_BE_SETTINGS,
    "mapping_type": _MUST_BE_SETTINGS,
    "dataclass_type": _MUST_BE_SETTINGS,
}
"""Error type -> message, for a value of another kind than the setting's."""
_WRONG_VALUES: Mapping[str, str] = {
    "missing": "must be given",
    "missing_argument": "must be given",
    "missing_keyword_only_argument": "must be given",
    "string_too_short": _NOT_EMPTY,
    "too_short": _NOT_EMPTY,
    "too_long": "has {actual_length} entries, more than {max_length}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_parsing_size": "has too many digits",
    "invalid-json-value": "must be a value that JSON has",
    "value_error": "{error}",
}
"""Error type -> message, with names of the error's context, for a value of the right kind."""


def format_validation_error(error: ValidationError, kind: type | None = None) -> str:
    """Describe all wrong settings in one line, each setting once.

    Args:
        error: The error that checking the settings raised.
        kind: The dataclass of settings that was checked. Its fields serve to guess a misspelt name.
    """
    by_location: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors():
        location = tuple(str(part) for part in detail["loc"] if not _UNION_TAG.fullmatch(str(part)))
        by_location.setdefault(location, []).append(detail)
    # If a member of a union fits except for a part, that part is named and the other members are not.
    branches = {location[:depth] for location in by_location for depth in range(len(location))}
    wrong = [location for location in by_location if location not in branches]
    problems = [
        f"{one_line('.'.join(location), longest=100)}: {_problem(location, by_location[location], kind)}".removeprefix(
            ": "
        )
        for location in wrong[:_MAX_PROBLEMS]
    ]
    more = f"; and {len(wrong) - _MAX_PROBLEMS} more" if len(wrong) > _MAX_PROBLEMS else ""
    return one_line("; ".join(problems)) + more


def _problem(location: Sequence[str], details: Sequence[ErrorDetails], kind: type | None) -> str:
    """Describe the error of one setting. For a union, name what each member accepts."""
    if details[0]["type"] in _UNKNOWN:
        names = _setting_names(kind, location[:-1]) if kind else ()
        return "no such setting" + did_you_mean(location[-1], names)
    # Members of the union that accept the value's type say more than those that do not.
    fitting = [detail for detail in details if detail["type"] not in _WRONG_KINDS]
    choices = [detail for detail in fitting if "expected" in detail.get("ctx", {})]
    shown = details if len(choices) == len(fitting) else fitting
    first, *others = dict.fromkeys(_message(detail) for detail in shown)
    text = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
    return text + "".join(_guess(detail) for detail in choices)


def _message(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if "expected" in context:
        return f"must be {context['expected'].replace(chr(39), '')}"
    if message := _WRONG_KINDS.get(detail["type"]):
        return message
    template = _WRONG_VALUES.get(detail["type"])
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
    return template.format_map(shown) if template else detail["msg"]


def _guess(detail: ErrorDetails) -> str:
    names = re.findall(r"'([^']*)'", detail.get("ctx", {}).get("expected", ""))
    return did_you_mean(detail["input"], names) if isinstance(detail["input"], str) else ""


def _setting_names(kind: type, branches: Iterable[str]) -> tuple[str, ...]:
    """List the names of a branch's settings."""
    branch: Any = kind
    for name in branches:
        hint = get_type_hints(branch).get(name)
        branch = next((member for member in (hint, *get_args(hint)) if is_dataclass(member)), None)
        if branch is None:
            return ()
    return tuple(field.name for field in fields(branch))
