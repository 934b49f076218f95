"""The JSON documents of `--json`: one on standard output for each command, with its schema and version.

A refusal is a document too. `docs/formats/json.md` lists them all.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import click

VERSION = 1
"""Version of every schema. Within a version, fields are only added."""

_DETAILS = "document"
"""Attribute of an error: more fields of the document about it."""


@dataclass(kw_only=True, slots=True)
class Printed:
    """The object of a command's click context: it remembers that the document is printed."""

    has_document: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the document that no command knows by itself: where the work was done, and the seconds of its phases."""


def emit(command: str, document: Mapping[str, Any]) -> None:
    """Print the document of a command.

    Args:
        command: The command, such as `verify`.
        document: Its fields, as plain JSON values.
    """
    context = click.get_current_context(silent=True)
    if printed := context and context.find_object(Printed):
        printed.has_document = True
        document = {**document, **printed.more}
    _print(command, document)


def add_details(error: BaseException, **fields: Any) -> None:
    """Add fields to the document that a refusal will print with --json.

    Args:
        error: The error that the command raises.
        fields: Names and plain JSON values.
    """
    vars(error)[_DETAILS] = {**vars(error).get(_DETAILS, {}), **fields}


def emit_error(error: BaseException, problem: str, exit_code: int, **fields: Any) -> None:
    """Print the document of a refusal or a failure. Standard output may be what failed, so that nothing is raised.

    Args:
        error: The error.
        problem: Its text, without a line break.
        exit_code: The exit code of the command.
        fields: More fields.
    """
    details = vars(error).get(_DETAILS, {})
    with suppress(OSError):
        _print("error", {"error": problem, "exit_code": exit_code, **fields, **details})


def _print(name: str, document: Mapping[str, Any]) -> None:
    click.echo(json.dumps({"schema": f"raymu.{name}", "version": VERSION, **_finite(document)}, indent=2))


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by null."""
    if isinstance(value, Mapping):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
