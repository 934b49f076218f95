"""The whole configuration: its branches, and the rules that span several of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from raymu.config import limits
from raymu.config.callbacks import CallbackConfig
from raymu.config.cluster import ClusterConfig
from raymu.config.data import ALL_COLUMNS, DataConfig
from raymu.config.fields import STRICT, Device
from raymu.config.limits import check_tree
from raymu.config.registry import RegistryConfig
from raymu.config.stage_epochs import epochs_per_stage
from raymu.config.task import TargetName, TaskConfig, TaskName
from raymu.config.training import ModelConfig, TrainingConfig, in_short
from raymu.config.unlearning import AggregationName, Contributions, UnlearningConfig
from raymu.config.validation import ValidationConfig
from raymu.config.validation_errors import format_validation_error
from raymu.config.yaml_file import read_settings
from raymu.errors import ConfigInvalid


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class PartitionConfig:
    """Settings of the distribution of samples over shards and slices."""

    shards: Annotated[int, Field(ge=1, le=limits.MAX_SHARDS)] = 8
    """Parts of the samples, each with a model of its own."""
    slices: Annotated[int, Field(ge=1, le=limits.MAX_SLICES)] = 5
    """Parts of each shard, after each of which training keeps a checkpoint."""
    policy: Literal["uniform", "owner", "risk"] = "uniform"
    """What a sample's place follows from: its id; its owner, so that a request affects one shard; or, for
    its slice, its risk.
    """
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """From which the places of samples, their order and the first weights derive."""
    risk_bands: tuple[float, ...] | None = None
    """Ascending upper bounds, one fewer than slices. By default [0, 1] in equal bands."""

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
class Config:
    """Everything a run is configured by. It is read and checked once, and never changes."""

    data: DataConfig
    model: ModelConfig
    task: Annotated[TaskConfig, in_short] = Field(default_factory=lambda: TaskConfig(name=TaskName.TENSOR))
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    partition: PartitionConfig = Field(default_factory=PartitionConfig)
    validation: ValidationConfig | None = None
    unlearning: UnlearningConfig = Field(default_factory=UnlearningConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    registry: RegistryConfig | None = None
    callbacks: tuple[Annotated[CallbackConfig, in_short], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _tables_have_all_columns(cls, settings: Any) -> Any:
        """Read all columns of a table whose task is `tabular`, unless some are named."""
        by_name = getattr(settings, "kwargs", settings)
        if not isinstance(by_name, Mapping) or not isinstance(by_name.get("data"), Mapping):
            return settings
        task, data = by_name.get("task"), by_name["data"]
        name = task.get("name") if isinstance(task, Mapping) else task
        if name == TaskName.TABULAR and data.get("features") is None:
            return {**by_name, "data": {**data, "features": ALL_COLUMNS}}
        return settings

    @model_validator(mode="after")
    def _branches_agree(self) -> "Config":
        if self.partition.policy == "owner" and self.data.owner is None:
            raise ValueError("partition.policy owner needs data.owner, the name of the owner column")
        if self.partition.policy == "risk" and self.data.risk is None:
            raise ValueError("partition.policy risk needs data.risk, the name of the risk column")
        if self.unlearning.ohs.slices > self.partition.slices:
            raise ValueError(f"unlearning.ohs.slices is more than the {self.partition.slices} slices of a shard")
        if self.training.device == "cuda" and self.cluster.fleet != "local" and not self.cluster.gpus_per_shard:
            raise ValueError("training.device cuda needs cluster.gpus_per_shard, such as 1 or 0.25")
        try:
            epochs_per_stage(self.training.epochs, self.partition.slices)
        except ValueError as error:
            raise ValueError(f"training.epochs: {error}") from None
        return self

    @model_validator(mode="after")
    def _groups_need_plain_sgd(self) -> "Config":
        if self.unlearning.contributions is Contributions.GROUP and not self.training.is_plain_sgd:
            raise ValueError(
                "contributions group needs sgd without momentum, clipping or other options, so that each update comes of "
                "one batch; use gradient"
            )
        return self

    @model_validator(mode="after")
    def _task_fits(self) -> "Config":
        is_tabular = self.task.name is TaskName.TABULAR
        if is_tabular and self.data.normalize == "unit":
            raise ValueError("data.normalize unit is for pictures; leave it out with task tabular")
        settings = self.task.tabular
        if settings is not None and settings.form == "dict" and self.model.name is not None:
            raise ValueError(f"task.form dict is for a model of your own; leave it out with model {self.model.name}")
        if self.data.features == ALL_COLUMNS and not is_tabular:
            raise ValueError('data.features "*" belongs to task tabular; name the columns, or set task: tabular')
        return self

    @model_validator(mode="after")
    def _early_stopping_leaves_no_updates_behind(self) -> "Config":
        records = self.unlearning.contributions in (Contributions.GROUP, Contributions.BATCH)
        if self.validation is not None and self.validation.patience is not None and records:
            raise ValueError(
                f"validation.patience goes back to earlier weights, and contributions {self.unlearning.contributions} "
                "records the updates of all; use curvature or gradient"
            )
        return self

    @model_validator(mode="after")
    def _lanes_fit(self) -> "Config":
        width = self.cluster.shards_per_lane
        if width == 1:
            return self
        if width > self.partition.shards:
            raise ValueError(
                f"cluster.shards_per_lane {width} is more than the {self.partition.shards} shards; lower it"
            )
        if self.unlearning.contributions in (Contributions.GROUP, Contributions.BATCH):
            raise ValueError(
                f"contributions {self.unlearning.contributions} records the steps of one shard at a time; use curvature or "
                "gradient, or set cluster.shards_per_lane: 1"
            )
        alone = {
            "cluster.workers_per_shard": self.cluster.workers_per_shard > 1,
            "training.compile": self.training.compile,
            "training.channels_last": self.training.channels_last,
        }
        for name, is_set in alone.items():
            if is_set:
                raise ValueError(
                    f"{name} is for shards that are trained one by one; leave it out, or set shards_per_lane: 1"
                )
        return self

    @model_validator(mode="after")
    def _target_fits(self) -> "Config":
        target = self.task.target
        if target is TargetName.CLASSES and not isinstance(self.data.label, str):
            raise ValueError("data.label names several columns; set task.target: labels, or regression")
        if target is not TargetName.CLASSES and self.data.classes is not None:
            raise ValueError(f"data.classes belongs to task.target classes, and the target is {target}; leave it out")
        if target is TargetName.REGRESSION and self.unlearning.aggregation is AggregationName.MAJORITY_VOTE:
            raise ValueError("unlearning.aggregation majority_vote counts classes; numbers need mean_probability")
        return self

    @property
    def device(self) -> Device:
        """The device setting of shards. An actor without a share of a GPU sees its node's GPUs, and does not use them."""
        has_no_share = self.cluster.fleet != "local" and not self.cluster.gpus_per_shard
        return "cpu" if has_no_share else self.training.device

    @property
    def epochs_per_stage(self) -> tuple[int, ...]:
        """Epochs of each stage, by SISA's rule."""
        return epochs_per_stage(self.training.epochs, self.partition.slices)

    @staticmethod
    def load(path: str | Path, overrides: Sequence[str] = ()) -> "Config":
        """Read a YAML file; `overrides` are dotted `key=value` settings. Relative data paths start at the file's folder.

        Raises ConfigInvalid.
        """
        return Config.parse(read_settings(path, overrides)).relative_to(Path(path).parent)

    @staticmethod
    def parse(tree: Mapping[str, Any]) -> "Config":
        """Check a tree of settings, as YAML or JSON gives it. Raises ConfigInvalid."""
        check_tree(tree)
        try:
            return _ADAPTER.validate_python(tree)
        except ValidationError as error:
            raise ConfigInvalid(format_validation_error(error, Config)) from error

    def relative_to(self, folder: Path) -> "Config":
        """Return the same settings with relative data paths taken from a folder."""
        tree = self.tree()
        data = tree["data"]
        for part in ("train", "test"):
            if data[part]:
                data[part] = _all_located(data[part], folder)
        if tree["validation"]:
            tree["validation"]["data"] = _all_located(tree["validation"]["data"], folder)
        for branch, setting in _LOCAL_PATHS:
            args = tree[branch]["args"] if isinstance(tree[branch], dict) and tree[branch].get("name") else {}
            if isinstance(args.get(setting), str):
                args[setting] = _located(args[setting], folder)
        if self.registry is not None:
            tree["registry"] = asdict(self.registry.relative_to(folder))
        return Config.parse(tree)

    def tree(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, which `parse` reads."""
        tree: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return tree


def _all_located(locations: str, folder: Path) -> str:
    return "\n".join(_located(place, folder) for place in locations.split("\n") if place.strip())


def _located(location: str, folder: Path) -> str:
    return location if "://" in location else str(folder / Path(location).expanduser())


_LOCAL_PATHS = (("task", "tokenizer"),)
"""Settings of named parts that name files, which are taken from the configuration's folder too."""
_ADAPTER = TypeAdapter(Config)
