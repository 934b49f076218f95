"""Settings: one frozen tree, read once at the door; each class gets only its own branch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from raymu.errors import ConfigInvalid

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Normalization:
    """A fixed standardisation: the same mean and standard deviation for every feature."""

    mean: float
    std: Positive


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class DataConfig:
    train: str
    """Parquet or Arrow file with one row per sample."""
    test: str | None = None
    id: str = "id"
    label: str = "label"
    features: str | tuple[str, ...] = "features"
    """A fixed-size list or tensor column, or the names of scalar columns."""
    owner: str | None = None
    risk: str | None = None
    """Column with each sample's revocation probability, within [0, 1]."""
    classes: Annotated[int, Field(ge=2)] | None = None
    """Number of classes; taken from the labels of the training file, and frozen in the run, where it is not given."""
    normalize: Literal["none", "unit", "shard"] | Normalization = "shard"
    track_accuracy: bool = False
    """Measure the generations that work ends with on the test file, and keep it in the journal."""

    @model_validator(mode="after")
    def _tracking_needs_test_data(self) -> "DataConfig":
        if self.track_accuracy and self.test is None:
            raise ValueError("track_accuracy needs data.test, a file with labels to measure on")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class ModelConfig:
    name: str | None = None
    """A built-in model: logistic, mlp, cnn, resnet."""
    factory: str | None = None
    """`package.module:function`, called with `args`, returning any `nn.Module` with (samples, classes) logits."""
    args: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _settings_beside_the_name_are_args(cls, given: Any) -> Any:
        settings = dict(getattr(given, "kwargs", None) or (given if isinstance(given, dict) else {}))
        known = {key: settings.pop(key) for key in ("name", "factory", "args") if key in settings}
        if known.get("name") and not known.get("factory"):
            known["args"] = {**(known.get("args") or {}), **settings}
            return known
        return {**known, **settings}

    @model_validator(mode="after")
    def _one_way_to_a_model(self) -> "ModelConfig":
        if (self.name is None) == (self.factory is None):
            raise ValueError("give either a name or a factory")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
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
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> "TrainingConfig":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is a setting of sgd; leave it out with {self.optimizer}")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class OhsConfig:
    """What OHS does beyond the hybrid boundary."""

    remedy: Literal["fine_tune", "replay"] = "fine_tune"
    slices: Count = 1
    """How many of the last slices are fine-tuned on, or of the last stages replayed."""
    epochs: Count = 3
    """Most epochs of fine-tuning; it ends earlier where the loss on unseen samples stops improving."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class ClusterConfig:
    address: str | None = None
    """A Ray cluster's address; null joins the one in RAY_ADDRESS or starts one on this machine."""
    fleet: Literal["ray", "local"] = "ray"
    """`local` runs every shard in this process, one after the other, without Ray."""
    cpus_per_shard: Positive = 1
    gpus_per_shard: NonNegative = 0
    workers_per_shard: Annotated[int, Field(ge=1, le=1)] = 1
    threads: Count = 1
    """Threads of one shard's arithmetic. Part of the determinism class: other thread counts give other bits."""
    journal: str | None = None
    """Database URL of the journal (postgresql://...); SQLite beside the run where not given."""
    live_actors: Count | None = None
    """Most shard actors alive at once; as many as the cluster's resources allow where not given."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
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

    @staticmethod
    def load(path: str | Path, overrides: Sequence[str] = ()) -> "Config":
        """Read a YAML file; `overrides` are dotted `key=value` settings. Relative data paths start at the file's folder."""
        path = Path(path)
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigInvalid(f"{path}: cannot be read ({error.strerror}); give the path of a YAML file") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"{path}: not YAML ({' '.join(str(error).split())})") from error
        if not isinstance(tree, dict):
            raise ConfigInvalid(f"{path}: holds no settings; it needs at least data and model")
        for override in overrides:
            _override(tree, override)
        config = Config.parse(tree)
        return config.with_data_below(path.parent)

    @staticmethod
    def parse(tree: Mapping[str, Any]) -> "Config":
        """Check a tree of settings, as YAML or JSON gives it."""
        try:
            return _ADAPTER.validate_python(tree)
        except ValidationError as error:
            raise ConfigInvalid("; ".join(_complaint(dict(detail)) for detail in error.errors())) from error

    def with_data_below(self, folder: Path) -> "Config":
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


def _override(tree: dict[str, Any], text: str) -> None:
    dotted, separator, value = text.partition("=")
    *branches, leaf = dotted.split(".")
    if not separator or not branches:
        raise ConfigInvalid(f"{text!r} is no setting; write it as training.epochs=3")
    for branch in branches:
        below = tree.setdefault(branch, {})
        if not isinstance(below, dict):
            raise ConfigInvalid(f"{dotted} cannot be set: {branch} is a single value")
        tree = below
    tree[leaf] = yaml.safe_load(value)


def _complaint(detail: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"] if not str(part).startswith(("float", "str", "constrained")))
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place}: no such setting"
    if detail["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{place}: must be given"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
