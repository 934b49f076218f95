"""Settings: one frozen tree, read once at the door; each class gets only its own branch."""

from raymu.config.cluster import ClusterConfig
from raymu.config.fields import Device
from raymu.config.schema import (
    Config,
    DataConfig,
    ModelConfig,
    Normalization,
    OhsConfig,
    PartitionConfig,
    TrainingConfig,
    UnlearningConfig,
)

__all__ = [
    "ClusterConfig",
    "Config",
    "DataConfig",
    "Device",
    "ModelConfig",
    "Normalization",
    "OhsConfig",
    "PartitionConfig",
    "TrainingConfig",
    "UnlearningConfig",
]
