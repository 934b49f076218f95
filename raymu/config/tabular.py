"""Settings of the task `tabular`: what its columns are, and how each becomes numbers."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from raymu.config.fields import LARGEST, SMALLEST, STRICT, Name, Number
from raymu.config.validation_errors import format_validation_error

KindName = Literal["number", "boolean", "date", "category"]
Cycle = Literal["day", "week", "year"]
FEWEST_CATEGORIES, MOST_CATEGORIES = 3, 65536


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ColumnSettings:
    """One column of a table. What is not given is fitted to each shard's first slice."""

    kind: KindName | None = None
    """None takes the kind that the column's type in the training table says."""
    mean: Number | None = None
    """The mean of a number, if it is known."""
    std: Annotated[float, Field(ge=SMALLEST, le=LARGEST)] | None = None
    """Its standard deviation."""
    values: (
        Annotated[
            tuple[Annotated[str, BeforeValidator(_text)], ...], Field(min_length=1, max_length=MOST_CATEGORIES - 2)
        ]
        | None
    ) = None
    """The values of a category."""
    cycles: tuple[Cycle, ...] = ()
    """Periods of which a date also gets its place: two numbers each, the sine and the cosine."""

    @model_validator(mode="after")
    def _belong_together(self) -> "ColumnSettings":
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given together, or neither")
        if self.values is not None and (self.mean is not None or self.kind not in (None, "category")):
            raise ValueError("values belong to a category, which has no mean")
        if self.mean is not None and self.kind in ("boolean", "category"):
            raise ValueError(f"mean and std belong to numbers and dates, not to a {self.kind}")
        if self.cycles and self.kind not in (None, "date"):
            raise ValueError("cycles belong to dates")
        if self.values is not None and len(set(self.values)) < len(self.values):
            raise ValueError("a value is named twice; leave one out")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TabularSettings:
    """The settings of the task."""

    categories: Annotated[int, Field(ge=FEWEST_CATEGORIES, le=MOST_CATEGORIES)] = 32
    """Places of each category: the most frequent values of the first slice, all others, and a missing value."""
    missing: Literal["impute", "refuse"] = "impute"
    """`impute` gives a missing number the mean, and a mark beside it; `refuse` refuses the table."""
    columns: Mapping[Name, ColumnSettings] = Field(default_factory=dict)
    """What is known of single columns."""
    form: Literal["flat", "dict"] = "flat"
    """`flat` gives the model one tensor; `dict` gives it `numbers` and `categories`, the places of the values."""

    @staticmethod
    def parse(settings: Mapping[str, JsonValue]) -> "TabularSettings":
        """Check settings. Raises ValueError with one line."""
        try:
            return _ADAPTER.validate_python(settings)
        except ValidationError as error:
            raise ValueError(format_validation_error(error, TabularSettings)) from error


_ADAPTER = TypeAdapter(TabularSettings)
