"""The settings that training depends on, as one record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from raymu.config import Config, ModelConfig, TaskConfig, TaskName, TrainingConfig
from raymu.config.data import NormalizeSetting
from raymu.config.training import Component
from raymu.config.unlearning import Contributions
from raymu.core.input_spec import InputSpec, InputSpecs
from raymu.training.base_weights import BaseWeights, build_on_base, dump_base, has_base
from raymu.training.determinism import deterministic
from raymu.training.held_out import HeldOut
from raymu.training.inputs import BatchInputs, blank
from raymu.training.models import build_model
from raymu.training.tasks import Task, TaskFacts, build_task


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSpec:
    """A shard's training, without its samples. Equal specs and samples give equal bits within a determinism class."""

    model: ModelConfig
    training: TrainingConfig
    normalize: NormalizeSetting
    input_shape: tuple[int, ...]
    """Shape of one sample's features; empty for a sample whose inputs are several tensors."""
    classes: int
    """Outputs of the model for each sample."""
    seed: int
    epochs: tuple[int, ...]
    """Number of epochs of each stage."""
    groups_per_slice: int | None
    """Fixed batches of a slice, if contributions are recorded by group."""
    workers: int = 1
    """Ranks that share every batch."""
    lane: int = 1
    """Places of a lane, whose shards are trained side by side; 1 trains each shard by itself."""
    loading_threads: int = 0
    """Threads that make batches ahead of the step. No bit depends on them."""
    takes_integers: bool = False
    """Whether the model takes int64, such as the numbers of tokens, and no floats."""
    task: TaskConfig = field(default_factory=lambda: TaskConfig(name=TaskName.TENSOR))
    columns: tuple[str, ...] = ("features",)
    """Columns that samples consist of."""
    column_kinds: Mapping[str, str] = field(default_factory=dict)
    """Kinds of the columns, for a task that asks for them."""
    inputs: InputSpecs = field(default_factory=dict)
    """The parts of one sample's inputs; empty for an array of `input_shape`."""
    held_out: HeldOut | None = field(default=None, compare=False)
    """Samples that the training is measured on; None without `validation`, and where nothing is trained."""
    base: BaseWeights | None = None
    """The weights that all shards begin with; None if each shard's model begins with new ones."""

    def build_model(self) -> nn.Module:
        """Build a shard's model, with what is new in it from torch's random state. Raises ConfigInvalid."""
        if self.base is not None:
            return build_on_base(self.base, input_shape=self.input_shape, classes=self.classes)
        return build_model(self.model, input_shape=self.input_shape, classes=self.classes)

    def with_base(self) -> tuple["TrainingSpec", bytes | None]:
        """Return the settings with the base weights that they ask for, and the file to store; None if they ask for none.

        Raises:
            ConfigInvalid: The model cannot be built, or its file is of another model.
        """
        if not has_base(self.model):
            return self, None
        with deterministic(torch.device("cpu"), threads=1):
            payload = dump_base(self.model, input_shape=self.input_shape, classes=self.classes, seed=self.seed)
        return self.on_base(BaseWeights.read(payload, source="the base weights")), payload

    def on_base(self, base: BaseWeights) -> "TrainingSpec":
        """Return the settings of a run that has these base weights."""
        return replace(self, base=base, model=base.model)

    @property
    def input_dtype(self) -> torch.dtype:
        """Type of the model's inputs, if they are one array."""
        return torch.int64 if self.takes_integers else torch.float32

    def blank(self, samples: int, device: torch.device) -> BatchInputs:
        """Return so many samples of zeros, to try a model on."""
        array = {"": InputSpec(dtype=str(self.input_dtype).removeprefix("torch."), shape=self.input_shape)}
        return blank(self.inputs or array, samples, device)

    def build_task(self) -> Task:
        """Build the configured task. Raises ConfigInvalid."""
        facts = TaskFacts(
            columns=self.columns,
            column_kinds=self.column_kinds,
            target=self.task.target,
            normalize=self.normalize,
            takes_integers=self.takes_integers,
        )
        return build_task(self.task, facts)

    @property
    def factories(self) -> dict[str, Component]:
        """The parts of training that a user's factory makes, by the name of the setting."""
        parts: dict[str, Component | None] = {
            "task": self.task,
            "model": self.model,
            "training.loss": self.training.loss,
            "training.optimizer": self.training.optimizer,
            "training.schedule": self.training.schedule,
        }
        return {name: part for name, part in parts.items() if part is not None and part.factory}

    @property
    def has_factory(self) -> bool:
        """Whether code of the user's takes part."""
        return bool(self.factories)

    @property
    def is_probed(self) -> bool:
        """Whether code takes part that raymu's tests do not prove to be repeatable: the user's, or that of a library."""
        is_library = self.model.name is not None and self.model.name.is_library
        return self.has_factory or is_library or self.training.compile or self.base is not None

    def extended(self, epochs: tuple[int, ...]) -> "TrainingSpec":
        """Return the settings with the stages of slices that were added to a run."""
        return replace(self, epochs=self.epochs + epochs)

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        takes_integers: bool = False,
        columns: tuple[str, ...] | None = None,
        column_kinds: Mapping[str, str] | None = None,
        inputs: InputSpecs | None = None,
    ) -> "TrainingSpec":
        """Take from a configuration what training depends on, and the other arguments from the training file."""
        by_group = config.unlearning.contributions is Contributions.GROUP
        return cls(
            model=config.model,
            training=config.training,
            normalize=config.data.normalize,
            input_shape=input_shape,
            classes=classes,
            seed=config.partition.seed,
            epochs=config.epochs_per_stage,
            groups_per_slice=config.unlearning.groups_per_slice if by_group else None,
            workers=config.cluster.workers_per_shard,
            lane=config.cluster.shards_per_lane,
            loading_threads=config.cluster.loading_threads,
            takes_integers=takes_integers,
            task=config.task,
            columns=columns or config.data.feature_columns,
            column_kinds=column_kinds or {},
            inputs=inputs or {},
        )
