"""The data sets of the experiments, and the settings that their models are trained with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import raymu

ROOT = Path(__file__).parent.parent
BUNDLED = Path(raymu.__file__).parent / "datasets"
BUNDLED_NAME = "letter"

_ADAM = {"epochs": 30, "optimizer": "adam", "learning_rate": 0.003}
_SGD = {"epochs": 12, "optimizer": "sgd", "learning_rate": 0.1}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """training: of an MLP with one hidden layer of 256, or a CNN"""

    classes: int
    shards: int
    training: Mapping[str, Any]
    normalize: Any = field(default="shard")
    is_image: bool = False


DATA_SETS: Mapping[str, DataSet] = {
    "letter": DataSet(classes=26, shards=8, training=_ADAM),
    "shuttle": DataSet(classes=7, shards=4, training={**_ADAM, "epochs": 12}),
    "mnist": DataSet(
        classes=10, shards=4, training=_SGD, normalize={"mean": 0.1307, "std": 0.3081}, is_image=True
    ),  # as published with the data, and so for Fashion-MNIST
    "fashion-mnist": DataSet(
        classes=10, shards=4, training=_SGD, normalize={"mean": 0.2862, "std": 0.3529}, is_image=True
    ),
}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": [256]},
    "cnn": {"name": "cnn", "channels": [8, 16], "hidden": 64},
}


def data_file(name: str, part: str, folder: Path) -> Path:
    """part: train or test; folder: where the data sets lie that the package does not hold"""
    return (BUNDLED if name == BUNDLED_NAME else folder) / f"{name}-{part}.parquet"


def missing_file(name: str, folder: Path) -> Path | None:
    """The first file of a data set that is not there."""
    files = [data_file(name, part, folder) for part in ("train", "test")]
    return next((file for file in files if not file.is_file()), None)
