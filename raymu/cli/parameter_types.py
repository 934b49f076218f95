"""Types of arguments and options: how each is read, and how it is named in help."""

import math
from datetime import datetime, timedelta
from typing import Any

import click

from raymu.config import limits
from raymu.config.fields import parse_duration

DATE_FORMAT_KEY = "raymu.date_format"
"""What a command has for its dates in the dictionary of its context."""

_LARGEST = 1e10
"""The largest number that is no count: 300 years in seconds."""


class _Location(click.Path):
    """A path or a URI that the command opens itself; shells complete it as a path."""

    def __init__(self, name: str, *, dir_okay: bool) -> None:
        super().__init__(file_okay=True, dir_okay=dir_okay)
        self.name = name

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # type: ignore[override]  # noqa: ARG002
        """Return the location unchanged: the command itself checks it."""
        return value


class _Count(click.IntRange):
    name = "n"


class _Time(click.ParamType):  # type: ignore[type-arg]  # older versions of click are not generic
    name = "time"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read a time, in the zone of this machine if it names none. A date is the end of that day."""
        from raymu.data.due_dates import DueInvalid, read_due

        try:
            return read_due(value, ctx.meta.get(DATE_FORMAT_KEY) if ctx else None)
        except DueInvalid as error:
            self.fail(str(error), param, ctx)


class _DateFormat(click.ParamType):  # type: ignore[type-arg]
    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read how dates are written: the order of day and month, or a pattern of strptime."""
        from raymu.data.due_dates import parse_date_format

        try:
            return parse_date_format(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}; write day-first, month-first, or a pattern such as %d.%m.%Y", param, ctx)


class _Duration(click.ParamType):  # type: ignore[type-arg]
    name = "duration"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read a duration such as 7d, 12h, 30m or 45s, of up to 99,999 days."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Nonnegative(click.ParamType):  # type: ignore[type-arg]
    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a finite number that is not negative."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0.0 <= number < math.inf:
            self.fail(f"{value!r} is not a number of 0 or more", param, ctx)
        if number > _LARGEST:
            self.fail(f"{value!r} is more than {_LARGEST:g}", param, ctx)
        return number


FILE = _Location("file", dir_okay=False)
DIRECTORY = _Location("dir", dir_okay=True)
TIME, DATE_FORMAT = _Time(), _DateFormat()
DURATION = _Duration()
SECONDS, POINTS, SHARE, RATIO = (
    _Nonnegative("seconds"),
    _Nonnegative("points"),
    _Nonnegative("share"),
    _Nonnegative("ratio"),
)
POSITIVE, NATURAL = _Count(min=1, max=limits.MAX_COUNT), _Count(min=0, max=limits.MAX_COUNT)
SHARD = _Count(min=0, max=limits.MAX_SHARDS - 1)
MODELS = _Count(min=1, max=limits.MAX_MODELS)
"""How many models a command trains beside those of the run."""
WHOLE = _Count(min=-(2**63), max=2**63 - 1)
"""Any whole number that fits in 64 bits."""
