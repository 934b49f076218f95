"""What the experiments share whose result is one JSON document: their options, an audited shard, and where results go."""

import argparse
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raymu.config import Config
from raymu.core.partition import identity_hashes
from raymu.data.tables import fit_classes, read_table
from raymu.service.ingest import place
from raymu.training.audit.samples import AuditSamples
from raymu.training.batches import ShardSamples
from raymu.training.spec import TrainingSpec

RESULTS = Path(__file__).parent / "results"
LETTER = Path(__file__).parent.parent / "raymu" / "datasets" / "letter-train.parquet"


def parser(question: str | None) -> argparse.ArgumentParser:
    """The options of every experiment. question: its docstring"""
    options = argparse.ArgumentParser(description=question, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--train", type=Path, default=LETTER, help="Parquet file; the bundled letter data by default")
    options.add_argument("--smoke", action="store_true", help="a small run, to see that it works")
    return options


def mlp_config(train: Path, **branches: Mapping[str, Any]) -> Config:
    """An MLP with one hidden layer of 256, on 8 shards x 5 slices; pixels by Fashion-MNIST's published statistics."""
    is_image = "mnist" in train.name
    tree: dict[str, dict[str, Any]] = {
        "data": {"train": str(train), "normalize": {"mean": 0.2862, "std": 0.3529} if is_image else "shard"},
        "model": {"name": "mlp", "hidden": [256]},
        "training": {"epochs": 12 if is_image else 30, "learning_rate": 0.1},
        "partition": {"shards": 8, "slices": 5, "seed": 7},
        "unlearning": {},
        "cluster": {},
    }
    for branch, settings in branches.items():
        tree[branch] = {**tree[branch], **settings}
    return Config.parse(tree)


def shard_pool(train: Path, *, revoked: int = 0) -> AuditSamples:
    """Shard 0 of `mlp_config`, trained with Adam, without some of its samples; shard 1's stand for unseen ones."""
    config = mlp_config(train, training={"optimizer": "adam", "learning_rate": 0.003, "device": "cpu"})
    table = read_table(str(train), config.data)
    shards, slices = place(table, config.partition)
    hashes = identity_hashes(table.ids.tolist(), seed=config.partition.seed, purpose="sample")
    own, unseen = (
        ShardSamples.ordered(table.take(rows), hashes=hashes[rows], slices=slices[rows])
        for rows in (np.flatnonzero(shards == shard) for shard in (0, 1))
    )
    is_revoked = own.held_in(np.sort(own.hashes)[:revoked])
    classes = fit_classes(table.labels, config.data.classes)
    plan = TrainingSpec.of(config, input_shape=table.features.shape[1:], classes=classes)
    return AuditSamples.gather(
        own.where(~is_revoked), own.where(is_revoked), unseen, plan=plan, shard=0, device="cpu", threads=1
    )


def keep(name: str, data: Path, result: Mapping[str, Any]) -> None:
    """Print a result, and keep it under results/."""
    machine = {
        "processor": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "torch": torch.__version__,
    }
    document = json.dumps({"data": data.name, "machine": machine, **result}, indent=2)
    print(document)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}-{data.stem.removesuffix('-train')}.json").write_text(document + "\n")
