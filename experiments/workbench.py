"""What the experiments share: where data come from and where results go."""

import argparse
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from raymu.config import Config

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
