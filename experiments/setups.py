"""Data sets, models and the trained runs that the experiments measure."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import raymu
from raymu.benchmark.compare import ComparisonSetup, MethodResult
from raymu.config import Config
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.partition import identity_hashes
from raymu.core.records import SampleId
from raymu.data.tables import read_training_table
from raymu.service.history_parts import sample_homes
from raymu.training.audit.samples import AuditSamples
from raymu.training.batches import ShardSamples
from raymu.training.spec import TrainingSpec

BUNDLED_NAME = "letter"
BUNDLED = Path(raymu.__file__).parent / "datasets"

# The rate ends at 0 in every stage, so that oracles of different seeds are near enough to each other to measure anything.
_SCHEDULE = {"name": "linear", "per": "step"}
_ADAM = {"epochs": 30, "optimizer": "adam", "learning_rate": 0.01, "schedule": _SCHEDULE}
_SGD = {"epochs": 12, "optimizer": "sgd", "learning_rate": 0.2, "schedule": _SCHEDULE}
_SMOKE_SAMPLES = {"mlp": 1600, "cnn": 600}
_SMOKE_TESTS, _SMOKE_EPOCHS = 1000, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A data set and the settings that its models are trained with."""

    classes: int
    shards: int
    training: Mapping[str, Any]
    normalize: Any = "shard"
    is_image: bool = False


DATA_SETS: Mapping[str, DataSet] = {
    "letter": DataSet(classes=26, shards=8, training=_ADAM),
    "shuttle": DataSet(classes=7, shards=4, training={**_ADAM, "epochs": 12}),
    # Means and deviations are those published with the data.
    "mnist": DataSet(classes=10, shards=4, training=_SGD, normalize={"mean": 0.1307, "std": 0.3081}, is_image=True),
    "fashion-mnist": DataSet(
        classes=10, shards=4, training=_SGD, normalize={"mean": 0.2862, "std": 0.3529}, is_image=True
    ),
}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": [256]},
    "cnn": {"name": "cnn", "channels": [8, 16], "hidden": 64},
}


def data_file(name: str, part: str, folder: Path) -> Path:
    """Return the file of a data set's part, `train` or `test`. Data sets that are not bundled lie in `folder`."""
    return (BUNDLED if name == BUNDLED_NAME else folder) / f"{name}-{part}.parquet"


def missing_file(name: str, folder: Path) -> Path | None:
    """Return the first file of a data set that does not exist."""
    files = [data_file(name, part, folder) for part in ("train", "test")]
    return next((file for file in files if not file.is_file()), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """A model on a data set with a seed."""

    data: str
    folder: Path
    is_smoke: bool
    model: str = "mlp"
    seed: int = 0
    """Seed of partition, initial weights, order and forget set."""
    samples: int | None = None
    """Number of training samples; None for all."""

    def __str__(self) -> str:
        return f"{self.data} {self.model} seed {self.seed}"

    def config(self, folder: Path, **branches: Mapping[str, Any]) -> Config:
        """Return settings for a run in this process.

        Args:
            folder: Where a reduced training table is written.
            branches: Settings that differ, by branch of the configuration. `model` replaces the whole branch.
        """
        data_set = DATA_SETS[self.data]
        limit = _SMOKE_SAMPLES[self.model]
        samples = min(self.samples or limit, limit) if self.is_smoke else self.samples
        tree: dict[str, Any] = {
            "data": {
                "train": str(self._reduced("train", samples, folder)),
                "test": str(self._reduced("test", _SMOKE_TESTS if self.is_smoke else None, folder)),
                "classes": data_set.classes,
                "normalize": data_set.normalize,
            },
            "model": MODELS[self.model],
            "training": {**data_set.training, **({"epochs": _SMOKE_EPOCHS} if self.is_smoke else {})},
            "partition": {"shards": data_set.shards, "slices": 5, "seed": self.seed},
            "unlearning": {},
            "cluster": {"fleet": "local"},
        }
        return Config.parse(_with_branches(tree, branches))

    def _reduced(self, part: str, samples: int | None, folder: Path) -> Path:
        """Write a random subset that is the same for every seed, and return its path; the file itself for all samples."""
        source = data_file(self.data, part, self.folder)
        if samples is None:
            return source
        table = pq.read_table(source)
        rows = np.random.default_rng(0).permutation(table.num_rows)[:samples]
        target = folder / source.name
        pq.write_table(table.take(pa.array(np.sort(rows))), target)
        return target


def _with_branches(tree: dict[str, Any], branches: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    changed = {name: settings if name == "model" else {**tree[name], **settings} for name, settings in branches.items()}
    return {**tree, **changed}


@contextmanager
def trained(setup: Setup, **branches: Mapping[str, Any]) -> Iterator[ComparisonSetup]:
    """Train a run, which exists until the end of the context. `branches` are settings that differ."""
    with tempfile.TemporaryDirectory(prefix="raymu-experiment-") as folder:
        config = setup.config(Path(folder), **branches)
        raymu.train(config, Path(folder) / "base").close()
        yield ComparisonSetup.of(config, str(Path(folder) / "base"), Path(folder))


def shuffled_ids(comparison: ComparisonSetup) -> list[SampleId]:
    """Return all ids in the order in which they are revoked, so that a larger forget set contains the smaller ones."""
    random = np.random.default_rng(comparison.config.partition.seed)
    ids: list[SampleId] = random.permutation(comparison.table.ids).tolist()
    return ids


def setup_columns(setup: Setup, comparison: ComparisonSetup) -> dict[str, Any]:
    """Return the columns that name what was measured."""
    partition = comparison.config.partition
    return {
        "data": setup.data,
        "model": setup.model,
        "seed": setup.seed,
        "samples": len(comparison.table.ids),
        "shards": partition.shards,
        "slices": partition.slices,
    }


def result_columns(result: MethodResult, oracle: PredictionSummary) -> dict[str, Any]:
    """Return the columns of what a method cost and how near it came to the oracle for the same samples."""
    predictions = result.predictions
    gap = predictions.distance(oracle)
    return {
        "method": result.method,
        "exactness": str(result.exactness),
        "passes": result.passes,
        "seconds": result.seconds,
        "test_accuracy": predictions.test_accuracy,
        "accuracy_lost": oracle.test_accuracy - predictions.test_accuracy,
        "equal_answers": gap.equal_answers,
        "forget_accuracy": predictions.forget_accuracy,
        "forget_loss": predictions.forget_loss,
        "forget_distance": gap.probability,
        "under_forgetting": gap.under,
        "over_forgetting": gap.over,
        "forgotten_s": result.forgotten_s,
        "repaired_s": result.repaired_s,
    }


def write_two_classes(path: Path, samples: int, *, features: int = 4) -> None:
    """Write made-up samples of two classes that a line separates, with ids from 0."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, samples)
    values = random.normal(size=(samples, features)).astype(np.float32) + labels[:, None].astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), features)
    pq.write_table(pa.table({"id": np.arange(samples), "label": labels, "features": column}), path)


def audit_samples(data: str, folder: Path, *, revoked: int = 0) -> AuditSamples:
    """Return shard 0 of 8 x 5 slices with some of its samples revoked. Samples of shard 1 are the unseen ones."""
    data_set = DATA_SETS[data]
    config = Config.parse(
        {
            "data": {"train": str(data_file(data, "train", folder)), "normalize": data_set.normalize},
            "model": MODELS["mlp"],
            "training": {**_ADAM, "epochs": data_set.training["epochs"], "device": "cpu"},
            "partition": {"shards": 8, "slices": 5, "seed": 7},
        }
    )
    training = read_training_table(config.data.train, config.data)
    table = training.samples
    shards, slices = sample_homes(table, config.partition)
    hashes = identity_hashes(table.ids.tolist(), seed=config.partition.seed, purpose="sample")
    own, unseen = (
        ShardSamples.ordered(table.take(rows), hashes=hashes[rows], slices=slices[rows])
        for rows in (np.flatnonzero(shards == shard) for shard in (0, 1))
    )
    is_revoked = own.isin(np.sort(own.hashes)[:revoked])
    spec = TrainingSpec.of(config, input_shape=table.array.shape[1:], classes=training.classes.count)
    return AuditSamples.gather(
        own.where(~is_revoked), own.where(is_revoked), unseen, spec=spec, shard=0, device="cpu", threads=1
    )
