"""A small run on some of the letter data. One sample has a wrong label, so that the model memorizes it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymu.config import Config
from raymu.service.audit.repetition import train_audited
from raymu.training.audit.shadow_models import AuditedModel, AuditTask

DATASETS = Path(__file__).parents[3] / "raymu" / "datasets"
LETTERS, SAMPLES = 6, 700


def write_letters(folder: Path, *, text_ids: bool = False) -> None:
    """The first letters of the alphabet; the label of the sample in row 0 is that of another letter."""
    for part, count in (("train", SAMPLES), ("test", 300)):
        table = pq.read_table(DATASETS / f"letter-{part}.parquet")
        rows = np.flatnonzero(table["label"].to_numpy() < LETTERS)[:count]
        labels = table["label"].to_numpy()[rows].astype(np.int64)
        if part == "train":
            labels[0] = (labels[0] + 1) % LETTERS
        ids = [f"sample-{row}" if text_ids else int(row) for row in rows]
        columns = {"id": ids, "label": labels, "features": table["features"].take(rows).combine_chunks()}
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")


def letter_config(folder: Path, **partition: int) -> Config:
    return Config.parse(
        {
            "data": {
                "train": str(folder / "train.parquet"),
                "test": str(folder / "test.parquet"),
                "classes": LETTERS,
            },
            "model": {"name": "mlp", "hidden": [48]},
            "training": {"epochs": 24, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.01, "device": "cpu"},
            "partition": {"shards": 2, "slices": 3, "seed": 3, **partition},
            "unlearning": {"boundary": 0.0, "ohs": {"remedy": "fine_tune"}},
            "cluster": {"fleet": "local"},
        }
    )


class Trainer:
    """Trains each model once, so that audits of the same samples share it. Remedies are repeated anew."""

    def __init__(self) -> None:
        self._models: dict[tuple[bytes, bytes, str, int], AuditedModel] = {}
        self.batches: list[int] = []
        """Number of tasks of each call."""

    def __call__(self, tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
        self.batches.append(len(tasks))
        for task in tasks:
            pool = task.samples
            identity = (pool.samples.hashes.tobytes(), pool.is_forgotten.tobytes(), task.kind, task.number)
            if identity not in self._models or task.remedy is not None:
                self._models[identity] = train_audited(pool, task.kind, task.number, task.remedy)
            yield self._models[identity]
