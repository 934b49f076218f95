"""Parts of training that the configuration chooses: a row of a table with checked arguments, or a user's factory."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from raymu.config.training import Component
from raymu.config.validation_errors import format_validation_error
from raymu.errors import ConfigInvalid
from raymu.text import did_you_mean, one_line


def call_factory(setting: str, component: Component) -> Any:
    """Import a user's function and call it with its arguments.

    Args:
        setting: Name of the setting, for messages: `model`.
        component: One that is chosen by its factory.

    Raises:
        ConfigInvalid: The function cannot be imported, or fails.
    """
    factory = component.factory or ""
    path, _, name = factory.partition(":")
    try:
        module = importlib.import_module(path)
    except (Exception, SystemExit) as error:  # the module's own code runs, and may raise anything
        raise ConfigInvalid(f"{setting}.factory: {path} cannot be imported ({one_line(error)}); install it") from error
    build = getattr(module, name, None)
    if build is None:
        raise ConfigInvalid(f"{setting}.factory: {path} has no {name}; check the name")
    try:
        return build(**component.args)
    except (Exception, SystemExit) as error:  # whatever foreign code raises, the user must see which code it was
        raise ConfigInvalid(f"{setting}.factory: {factory} failed ({one_line(error)}); check {setting}.args") from error


def call_row(
    setting: str,
    component: Component,
    row: Callable[..., Any],
    *positional: Any,
    without: frozenset[str] = frozenset(),
) -> Any:
    """Call a table's row with the component's arguments.

    Args:
        setting: Name of the setting, for messages: `training.optimizer`.
        component: One that is chosen by its name.
        row: What the table has under the name.
        positional: Positional arguments, which are not the user's.
        without: Keyword arguments that the user may not give.

    Raises:
        ConfigInvalid: An argument is unknown or out of range, or the row fails.
    """
    names = [name for name in list(inspect.signature(row).parameters)[len(positional) :] if name not in without]
    for name in component.args:
        if name not in names:
            raise ConfigInvalid(
                f"{setting}.{name}: {component.name} has no such setting; it has {', '.join(names) or 'none'}"
                + did_you_mean(name, names)
            )
    try:
        return row(*positional, **component.args)
    except ValidationError as error:
        raise ConfigInvalid(f"{setting}.{format_validation_error(error)}") from error
    except ConfigInvalid:
        raise
    except Exception as error:  # such as more weights than there is memory, or an option that needs another
        raise ConfigInvalid(
            f"{setting}: {component.name} cannot be built ({one_line(error)}); check its settings"
        ) from error
