"""The task `tabular`: every sample is a row of numbers, booleans, dates and categories, some of which may be missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from pydantic import JsonValue
from torch import Tensor

from raymu.config.data import NormalizeSetting
from raymu.config.tabular import TabularSettings
from raymu.data.encoders import (
    EncodedRows,
    Encoders,
    category_widths,
    encode,
    fit_encoders,
    from_json,
    refit_encoders,
    to_json,
)
from raymu.training.inputs import BatchInputs, Inputs
from raymu.training.tasks.facts import TaskFacts
from raymu.training.tasks.task import Fitted, Task

_ENCODERS = "encoders"
_NUMBERS, _CATEGORIES = "numbers", "categories"


@dataclass(frozen=True, kw_only=True, slots=True)
class TabularTask(Task):
    """Rows of a table."""

    encodes_each_alone: ClassVar[bool] = True

    kinds: Mapping[str, str]
    """Column -> kind, in the order of the columns."""
    settings: TabularSettings
    normalize_setting: NormalizeSetting
    """`data.normalize`."""

    def fit(self, rows: pa.Table) -> Fitted:
        return _tensors(fit_encoders(rows, self.kinds, self.settings, self.normalize_setting))

    def refit(self, rows: pa.Table, fitted: Fitted) -> Fitted:
        before = _encoders(fitted)
        return _tensors(refit_encoders(rows, self.kinds, self.settings, self.normalize_setting, before))

    def encode(self, rows: pa.Table, fitted: Fitted) -> Inputs:
        """Return numbers, and the places of categories, which take less memory than what a batch makes of them."""
        return _named(encode(rows, self.kinds, _encoders(fitted)))

    def normalize(self, batch: BatchInputs, fitted: Fitted) -> BatchInputs:
        """Spread categories out over their places, one number each, or leave the places to the model."""
        assert isinstance(batch, Mapping)
        if self.settings.form == "dict":
            return {name: part.long() if name == _CATEGORIES else part for name, part in batch.items()}
        widths = category_widths(self.kinds, self.settings)
        parts = [batch[_NUMBERS]] if _NUMBERS in batch else []
        for column, width in enumerate(widths):
            places = batch[_CATEGORIES][:, column, None]
            parts.append((places == torch.arange(width, device=places.device)).float())
        return torch.cat(parts, dim=1)


def build_tabular(
    facts: TaskFacts,
    categories: int = 32,
    missing: str = "impute",
    columns: Mapping[str, JsonValue] | None = None,
    form: str = "flat",
) -> Task:
    """Build the task `tabular`."""
    settings = TabularSettings.parse(
        {"categories": categories, "missing": missing, "columns": dict(columns or {}), "form": form}
    )
    kinds = {name: facts.column_kinds[name] for name in facts.columns}  # in the order of the table
    return TabularTask(kinds=kinds, settings=settings, normalize_setting=facts.normalize)


def _named(rows: EncodedRows) -> dict[str, Tensor]:
    parts = {_NUMBERS: rows.numbers, _CATEGORIES: rows.categories}
    return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items() if part.shape[1]}


def _tensors(encoders: Encoders) -> Fitted:
    return {_ENCODERS: torch.frombuffer(bytearray(to_json(encoders)), dtype=torch.uint8)}


def _encoders(fitted: Fitted) -> Encoders:
    return from_json(fitted[_ENCODERS].cpu().numpy().tobytes())
