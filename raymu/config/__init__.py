"""Settings: one frozen tree, read and checked once; each class gets only its own branch.

`schema.Config` is the tree; `data`, `training` (with the model), `task`, `validation`, `unlearning`, `cluster` and
`callbacks` hold its branches and the vocabularies that these choose from. `yaml_file` reads settings, `validation_errors`
says what is wrong with them, and `stage_epochs` has the rule that relates epochs to slices.
"""

from raymu.config.callbacks import CallbackConfig, CallbackName
from raymu.config.cluster import ClusterConfig
from raymu.config.data import DataConfig, Normalization
from raymu.config.fields import Device
from raymu.config.schema import Config, PartitionConfig
from raymu.config.task import TargetName, TaskConfig, TaskName
from raymu.config.training import AdaptersConfig, ModelConfig, Trainable, TrainingConfig
from raymu.config.unlearning import CurvatureConfig, OhsConfig, UnlearningConfig
from raymu.config.validation import ValidationConfig

__all__ = [
    "AdaptersConfig",
    "CallbackConfig",
    "CallbackName",
    "ClusterConfig",
    "Config",
    "CurvatureConfig",
    "DataConfig",
    "Device",
    "ModelConfig",
    "Normalization",
    "OhsConfig",
    "PartitionConfig",
    "TargetName",
    "TaskConfig",
    "TaskName",
    "Trainable",
    "TrainingConfig",
    "UnlearningConfig",
    "ValidationConfig",
]
