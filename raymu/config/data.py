"""Settings of the branch `data`: the samples, their columns and their preprocessing."""

from collections import Counter
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from raymu.config import limits
from raymu.config.fields import LARGEST, SMALLEST, STRICT, Name, Number


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Normalization:
    """A fixed standardisation: the same mean and standard deviation for every feature."""

    mean: Number
    """Subtracted from every feature."""
    std: Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
    """Divides every feature after that."""


NormalizeSetting: TypeAlias = Literal["none", "unit", "shard"] | Normalization


def _one_a_line(value: object) -> object:
    is_list = isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
    return "\n".join(value) if is_list and isinstance(value, list | tuple) else value


Files: TypeAlias = Annotated[str, Field(min_length=1), BeforeValidator(_one_a_line)]
"""One path, URI or pattern, or several: a list in YAML, and kept with one a line."""


ALL_COLUMNS = "*"
"""In place of the columns of features: all but those that `data` gives another purpose."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class DataConfig:
    """Tables of samples, and the names of their columns."""

    train: Files | None = None
    """Parquet or Arrow file with one row per sample; or a directory, a pattern or a list of such files.
    None for a run that is trained from a table in memory."""
    test: Files | None = None
    """Files of the same columns, with samples that are not trained on."""
    id: Name = "id"
    """Column of ids, which are unique: numbers, text or UUIDs."""
    label: Name | Annotated[tuple[Name, ...], Field(min_length=1)] = "label"
    """Column of what the model is to tell; several columns for a target of several labels or numbers."""
    features: Name | Annotated[tuple[Name, ...], Field(min_length=1)] = "features"
    """A fixed-size list or tensor column, or the names of scalar columns; `*` for all other columns, with task tabular."""
    owner: Name | None = None
    """Column of owners, all of whose samples can be revoked together."""
    risk: Name | None = None
    """Column with each sample's revocation probability, within [0, 1]."""
    classes: Annotated[int, Field(ge=2, le=limits.MAX_CLASSES)] | None = None
    """Number of classes. By default those of the labels of the training file, excluded samples included."""
    normalize: NormalizeSetting = "shard"
    """`none`, `unit` (pixels to [0, 1]), `shard` (standardise by the shard's first slice), or a fixed mean and std."""
    track_accuracy: bool = False
    """Measure each generation that ends a piece of work on the test file, and keep the accuracy in the journal."""

    @model_validator(mode="after")
    def _tracking_needs_test_data(self) -> "DataConfig":
        if self.track_accuracy and self.test is None:
            raise ValueError("track_accuracy needs data.test, a file with labels to measure on")
        return self

    @property
    def label_columns(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def feature_columns(self) -> tuple[str, ...]:
        return (self.features,) if isinstance(self.features, str) else self.features

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> "DataConfig":
        counts = Counter((self.id, *self.label_columns, *self.feature_columns))
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated:
            raise ValueError(f"column {repeated[0]!r} is named twice among id, label and features; each needs its own")
        return self
