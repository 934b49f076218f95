"""The tree of settings, and its branches but the cluster's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from raymu.config.cluster import ClusterConfig
from raymu.config.fields import LARGEST, SMALLEST, STRICT, Count, Device, Fraction, Name, NonNegative, Number, Positive
from raymu.config.yaml_file import format_validation_error, read_settings
from raymu.errors import ConfigInvalid


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Normalization:
    """A fixed standardisation: the same mean and standard deviation for every feature."""

    mean: Number
    std: Annotated[float, Field(ge=SMALLEST, le=LARGEST)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class DataConfig:
    train: Name
    """Parquet or Arrow file with one row per sample."""
    test: Name | None = None
    id: Name = "id"
    label: Name = "label"
    features: Name | Annotated[tuple[Name, ...], Field(min_length=1)] = "features"
    """A fixed-size list or tensor column, or the names of scalar columns."""
    owner: Name | None = None
    risk: Name | None = None
    """Column with each sample's revocation probability, within [0, 1]."""
    classes: Annotated[int, Field(ge=2)] | None = None
    """Number of classes; one more than the highest label of the training file, excluded samples too, where not given."""
    normalize: Literal["none", "unit", "shard"] | Normalization = "shard"
    track_accuracy: bool = False
    """Measure the generations that work ends with on the test file, and keep it in the journal."""

    @model_validator(mode="after")
    def _tracking_needs_test_data(self) -> "DataConfig":
        if self.track_accuracy and self.test is None:
            raise ValueError("track_accuracy needs data.test, a file with labels to measure on")
        return self

    @property
    def feature_columns(self) -> tuple[str, ...]:
        return (self.features,) if isinstance(self.features, str) else self.features

    @model_validator(mode="after")
    def _columns_are_apart(self) -> "DataConfig":
        counts = Counter((self.id, self.label, *self.feature_columns))
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"column {twice[0]!r} is named twice among id, label and features; each needs its own")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ModelConfig:
    name: str | None = None
    """A built-in model: logistic, mlp, cnn, resnet."""
    factory: str | None = None
    """`package.module:function`, called with `args`, returning any `nn.Module` with (samples, classes) logits."""
    args: Mapping[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _settings_beside_the_name_are_args(cls, given: Any) -> Any:
        settings = dict(getattr(given, "kwargs", None) or (given if isinstance(given, dict) else {}))
        known = {key: settings.pop(key, None) for key in ("name", "factory", "args")}
        known = {key: value for key, value in known.items() if value is not None}
        args = known.get("args", {})
        if not known.get("name") or known.get("factory") or not isinstance(args, Mapping):
            return {**known, **settings}
        twice = [str(key) for key in settings if key in args]
        if twice:
            raise ValueError(f"{twice[0]} is given twice, beside the name and in args; leave one of them out")
        return {**known, "args": {**args, **settings}}

    @model_validator(mode="after")
    def _one_way_to_a_model(self) -> "ModelConfig":
        if (self.name is None) == (self.factory is None):
            raise ValueError("give either a name or a factory")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TrainingConfig:
    epochs: Count = 12
    """Passes over the shard that the work of all stages adds up to (SISA's rule spreads them over the stages)."""
    batch_size: Count = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate within each stage; linear and cosine fall to 0 at its end."""
    stage_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Factor on the learning rate from each stage to the next."""
    device: Device = "auto"

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> "TrainingConfig":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is a setting of sgd; leave it out with {self.optimizer}")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class PartitionConfig:
    shards: Count = 8
    slices: Count = 5
    policy: Literal["uniform", "owner", "risk"] = "uniform"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    risk_bands: tuple[float, ...] | None = None
    """Ascending upper bounds, one fewer than slices; equal bands of [0, 1] where not given."""

    @model_validator(mode="after")
    def _bands_fit_the_slices(self) -> "PartitionConfig":
        bands = self.risk_bands
        if bands is None:
            return self
        if self.policy != "risk":
            raise ValueError("risk_bands belong to policy risk")
        if len(bands) != self.slices - 1 or list(bands) != sorted(set(bands)):
            raise ValueError(f"risk_bands must be {self.slices - 1} ascending bounds for {self.slices} slices")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class OhsConfig:
    """What OHS does beyond the hybrid boundary."""

    remedy: Literal["fine_tune", "replay"] = "fine_tune"
    slices: Count = 1
    """How many of the last slices are fine-tuned on, or of the last stages replayed."""
    epochs: Count = 3
    """Most epochs of fine-tuning; it ends earlier where the loss on unseen samples stops improving."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class UnlearningConfig:
    strategy: Literal["sisa", "dpus", "hs", "ohs"] = "hs"
    boundary: float | str = 0.35
    """Hybrid boundary: a fraction (0.35), compute seconds of a shard ("30s"), or a makespan ("deadline:60s")."""
    contributions: Literal["gradient", "group", "batch"] = "gradient"
    groups_per_slice: Count | None = None
    """For `group`: how many fixed batches a slice has. Part of the configuration, since it may not depend on the data."""
    calibration: bool = True
    on_accept: Literal["rewind", "abstain", "keep"] = "rewind"
    aggregation: Literal["mean_probability", "majority_vote", "size_weighted"] = "mean_probability"
    ohs: OhsConfig = Field(default_factory=OhsConfig)

    @field_validator("boundary", mode="after")
    @classmethod
    def _numbers_in_quotes_are_numbers(cls, boundary: float | str) -> float | str:
        try:
            return float(boundary)
        except ValueError:
            return boundary


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Config:
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    partition: PartitionConfig = Field(default_factory=PartitionConfig)
    unlearning: UnlearningConfig = Field(default_factory=UnlearningConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)

    @model_validator(mode="after")
    def _branches_agree(self) -> "Config":
        if self.partition.policy == "owner" and self.data.owner is None:
            raise ValueError("partition.policy owner needs data.owner, the name of the owner column")
        if self.partition.policy == "risk" and self.data.risk is None:
            raise ValueError("partition.policy risk needs data.risk, the name of the risk column")
        if self.unlearning.ohs.slices > self.partition.slices:
            raise ValueError(f"unlearning.ohs.slices is more than the {self.partition.slices} slices there are")
        if self.training.device == "cuda" and self.cluster.fleet == "ray" and not self.cluster.gpus_per_shard:
            raise ValueError("training.device cuda needs cluster.gpus_per_shard, such as 1 or 0.25")
        if self.unlearning.contributions == "group" and (self.training.optimizer != "sgd" or self.training.momentum):
            raise ValueError(
                "contributions group needs sgd without momentum, whose updates do not mix batches; use gradient"
            )
        return self

    @property
    def device(self) -> Device:
        """What shards are trained on. An actor without a share of a GPU sees its node's GPUs, and leaves them alone."""
        has_no_share = self.cluster.fleet == "ray" and not self.cluster.gpus_per_shard
        return "cpu" if has_no_share else self.training.device

    @staticmethod
    def load(path: str | Path, overrides: Sequence[str] = ()) -> "Config":
        """Read a YAML file; `overrides` are dotted `key=value` settings. Relative data paths start at the file's folder."""
        return Config.parse(read_settings(path, overrides)).relative_to(Path(path).parent)

    @staticmethod
    def parse(tree: Mapping[str, Any]) -> "Config":
        """Check a tree of settings, as YAML or JSON gives it."""
        try:
            return _ADAPTER.validate_python(tree)
        except ValidationError as error:
            raise ConfigInvalid(format_validation_error(error)) from error

    def relative_to(self, folder: Path) -> "Config":
        """The same settings, with relative data paths taken from `folder`."""
        tree = self.tree()
        data = tree["data"]
        for part in ("train", "test"):
            if data[part] and "://" not in data[part]:
                data[part] = str(folder / data[part])
        return Config.parse(tree)

    def tree(self) -> dict[str, Any]:
        """The settings as plain JSON values; `parse` is the way back."""
        tree: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return tree


_ADAPTER = TypeAdapter(Config)
