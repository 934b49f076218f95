"""Write the tables of docs/settings.md from the dataclasses, and the help in docs/commands.md: `python docs/generate.py`."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from raymu.cli.group import SECTIONS, cli
from raymu.config.callbacks import CallbackConfig
from raymu.config.cluster import ClusterConfig
from raymu.config.data import DataConfig, Normalization
from raymu.config.registry import RegistryConfig
from raymu.config.schema import PartitionConfig
from raymu.config.tabular import ColumnSettings, TabularSettings
from raymu.config.task import TaskConfig
from raymu.config.training import (
    AdaptersConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)
from raymu.config.unlearning import CurvatureConfig, OhsConfig, PublishConfig, UnlearningConfig
from raymu.config.validation import ValidationConfig

FOLDER = Path(__file__).parent
BRANCHES: dict[str, type] = {
    "data": DataConfig,
    "data.normalize": Normalization,
    "task": TaskConfig,
    "task, name: tabular": TabularSettings,
    "task.columns, name: tabular": ColumnSettings,
    "model": ModelConfig,
    "model.adapters": AdaptersConfig,
    "training": TrainingConfig,
    "training.loss": LossConfig,
    "training.optimizer": OptimizerConfig,
    "training.schedule": ScheduleConfig,
    "partition": PartitionConfig,
    "validation": ValidationConfig,
    "unlearning": UnlearningConfig,
    "unlearning.curvature": CurvatureConfig,
    "unlearning.ohs": OhsConfig,
    "unlearning.publish": PublishConfig,
    "cluster": ClusterConfig,
    "registry": RegistryConfig,
    "callbacks": CallbackConfig,
}
"""Each branch of the configuration, and the dataclass that reads it."""
_COLUMNS = 80
"""Width of the help."""
BEGIN, END = "<!-- written by docs/generate.py -->", "<!-- end -->"


def tables_of_settings() -> str:
    """Return a table for each branch of the configuration."""
    parts = []
    for branch, kind in BRANCHES.items():
        parts.append(f"### `{branch}`\n\n{_prose(inspect.getdoc(kind) or '')}")
        rows = "\n".join(_rows(kind))
        parts.append(f"| setting | values | default | meaning |\n|---|---|---|---|\n{rows}")
    return "\n\n".join(parts)


def help_of_commands() -> str:
    """Return the help of every command."""
    group = click.Context(cli, info_name="raymu", terminal_width=_COLUMNS, **cli.context_settings)
    parts = [f"```text\n{_help(cli, group)}\n```"]
    for commands in SECTIONS.values():
        for listed in commands:
            context, command = group, cli
            for word in listed.name.split():
                command = command.get_command(context, word)  # type: ignore[attr-defined]
                context = click.Context(command, info_name=word, parent=context, terminal_width=_COLUMNS)
            parts.append(f"### raymu {listed.name}\n\n```text\n{_help(command, context)}\n```")
    return "\n\n".join(parts)


PAGES = {"settings.md": tables_of_settings, "commands.md": help_of_commands}
"""Pages with a generated part, and what writes it."""


def with_generated(page: str, part: str) -> str:
    """Return a page with its generated part as it is now."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{after}"


def _help(command: click.Command, context: click.Context) -> str:
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines()).strip()


def _rows(kind: type) -> Iterator[str]:
    """Yield a row of the table for each field, those of the class it extends first."""
    schema = _properties(kind)
    texts = {name: text for base in reversed(kind.__mro__) for name, text in _field_texts(base).items()}
    for field in dataclasses.fields(kind):
        values = _values(schema["properties"].get(field.name, {}), schema)
        cells = [f"`{field.name}`", values, _default(field), _prose(texts.get(field.name, ""))]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _properties(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a branch, with the definitions that it refers to."""
    schema = TypeAdapter(kind).json_schema()
    definitions = schema.get("$defs", {})
    if "$ref" in schema:
        return {**definitions[schema["$ref"].rpartition("/")[2]], "$defs": definitions}
    return schema


def _field_texts(kind: type) -> dict[str, str]:
    """Return the text under each field of a class."""
    if not dataclasses.is_dataclass(kind):
        return {}
    [tree] = ast.parse(inspect.getsource(kind)).body
    texts = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):  # type: ignore[attr-defined]
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            texts[field.target.id] = inspect.cleandoc(str(text.value.value))  # type: ignore[union-attr]
    return texts


def _values(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """Return the values that a part of a schema takes, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target = root["$defs"].get(name, {})
        return _values(target, root) if "enum" in target else "any value" if name == "JsonValue" else "the branch below"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_values(part, root) for part in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "integer":
            return f"integer{_bounds(schema)}"
        case "number":
            return f"number{_bounds(schema)}"
        case "boolean":
            return "`true`, `false`"
        case "array":
            return "list"
        case "object":
            return "mapping"
        case "string":
            return "text"
        case "null":
            return "null"
    return "text or number"


def _bounds(schema: dict[str, Any]) -> str:
    parts = [
        f"{sign} {schema[name]:g}" if isinstance(schema[name], float) else f"{sign} {schema[name]:,}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in schema and abs(schema[name]) < 1e15
    ]
    return f" {' and '.join(parts)}" if parts else ""


def _default(field: dataclasses.Field[Any]) -> str:
    default: Any = field.default
    if isinstance(default, FieldInfo):
        if default.default_factory is None:
            return "*required*"
        value = default.default_factory()  # type: ignore[call-arg]
        if dataclasses.is_dataclass(value):
            name = getattr(value, "name", None)
            return f"`{name.value}`" if isinstance(name, Enum) and _is_alone(value) else "*as below*"
        default = value
    if default is dataclasses.MISSING:
        return "*required*"
    if isinstance(default, Enum):
        default = default.value
    if hasattr(default, "setting"):
        default = default.setting()
    if isinstance(default, timedelta):
        return f"`{default.days}d`" if default == timedelta(days=default.days) else f"`{default.total_seconds():g}s`"
    if isinstance(default, tuple):
        default = list(default)
    text = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
    return f"`{text}`"


def _is_alone(value: object) -> bool:
    """Whether a component is a name with nothing beside it."""
    return value == type(value)(name=value.name)  # type: ignore[attr-defined,call-arg]


def _prose(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def main() -> None:
    """Write the generated part of each page."""
    for name, write in PAGES.items():
        page = FOLDER / name
        page.write_text(with_generated(page.read_text(encoding="utf-8"), write()), encoding="utf-8")


if __name__ == "__main__":
    main()
