"""What is tried: one model on one data set with one seed, trained as a run, and forget sets to take out of it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from data_sets import DATA_SETS, MODELS, data_file
from rows import Row

from raymu.api import train
from raymu.benchmark.compare import ComparisonSetup, MethodResult
from raymu.config import Config
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.records import SampleId

_SMOKE_SAMPLES = {"mlp": 1600, "cnn": 600}
_SMOKE_TESTS, _SMOKE_EPOCHS = 1000, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """seed: of partition, training and forget sets; samples: how many are trained on, None for all that there are"""

    data: str
    folder: Path
    is_smoke: bool
    model: str = "mlp"
    seed: int = 0
    samples: int | None = None

    def __str__(self) -> str:
        return f"{self.data} {self.model} seed {self.seed}"

    def config(self, place: Path, **branches: Mapping[str, Any]) -> Config:
        """Settings for a run in this process; the samples are written to a place. branches: settings that differ"""
        data_set = DATA_SETS[self.data]
        most = _SMOKE_SAMPLES[self.model]
        samples = min(self.samples or most, most) if self.is_smoke else self.samples
        tree: dict[str, Any] = {
            "data": {
                "train": str(self._part("train", samples, place)),
                "test": str(self._part("test", _SMOKE_TESTS if self.is_smoke else None, place)),
                "classes": data_set.classes,
                "normalize": data_set.normalize,
            },
            "model": MODELS[self.model],
            "training": {**data_set.training, **({"epochs": _SMOKE_EPOCHS} if self.is_smoke else {})},
            "partition": {"shards": data_set.shards, "slices": 5, "seed": self.seed},
            "unlearning": {},
            "cluster": {"fleet": "local"},
        }
        for branch, settings in branches.items():
            tree[branch] = settings if branch == "model" else {**tree[branch], **settings}
        return Config.parse(tree)

    def _part(self, part: str, samples: int | None, place: Path) -> Path:
        """The first samples, in an order drawn once for all; the file itself where all are taken."""
        source = data_file(self.data, part, self.folder)
        if samples is None:
            return source
        table = pq.read_table(source)
        rows = np.random.default_rng(0).permutation(table.num_rows)[:samples]
        target = place / source.name
        pq.write_table(table.take(pa.array(np.sort(rows))), target)
        return target


@contextmanager
def trained(subject: Subject, **branches: Mapping[str, Any]) -> Iterator[ComparisonSetup]:
    """The subject as a trained run, until the end of the context."""
    with tempfile.TemporaryDirectory(prefix="raymu-experiment-") as folder:
        place = Path(folder)
        config = subject.config(place, **branches)
        train(config, place / "base").close()
        yield ComparisonSetup.of(config, str(place / "base"), place)


def shuffled_ids(bench: ComparisonSetup) -> list[SampleId]:
    """All ids in the order in which they are revoked: a larger forget set holds the smaller ones."""
    ids: list[SampleId] = np.random.default_rng(bench.config.partition.seed).permutation(bench.table.ids).tolist()
    return ids


def about(subject: Subject, bench: ComparisonSetup) -> Row:
    """The columns that say what was tried."""
    partition = bench.config.partition
    return {
        "data": subject.data,
        "model": subject.model,
        "seed": subject.seed,
        "samples": len(bench.table.ids),
        "shards": partition.shards,
        "slices": partition.slices,
    }


def outcome(trial: MethodResult, oracle: PredictionSummary) -> Row:
    """The columns that say what a method did. oracle: retrained without the same samples"""
    distance = trial.predictions.distance(oracle)
    return {
        "method": trial.method,
        "exactness": str(trial.exactness),
        "passes": trial.passes,
        "seconds": trial.seconds,
        "test_accuracy": trial.predictions.test_accuracy,
        "accuracy_lost": oracle.test_accuracy - trial.predictions.test_accuracy,
        "equal_answers": distance.equal_answers,
        "forget_accuracy": trial.predictions.forget_accuracy,
        "forget_loss": trial.predictions.forget_loss,
        "forget_distance": distance.probability,
        "under_forgetting": distance.under,
        "over_forgetting": distance.over,
        "forgotten_s": trial.forgotten_s,
        "repaired_s": trial.repaired_s,
    }
