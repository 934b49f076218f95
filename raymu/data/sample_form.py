"""The form in which samples are read from a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from raymu.config import TargetName
from raymu.config.tabular import TabularSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleForm:
    """The form in which samples are read from a table."""

    columns: tuple[str, ...] | None = None
    """The columns that are kept as they are; None makes one array of those that `data.features` names."""
    target: TargetName = TargetName.CLASSES
    """What `data.label` says of a sample."""
    tabular: TabularSettings | None = None
    """Settings of the task `tabular`; None for others."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Kinds of the columns, with the task `tabular`. A training table tells them."""


ARRAY = SampleForm()
"""One array of numbers a sample, and one class."""
