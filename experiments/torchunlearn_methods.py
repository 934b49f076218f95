"""Unlearn with torchunlearn's methods, in an environment that has torchunlearn and does not have raymu.

python torchunlearn_methods.py WORK.npz RESULT.npz trains the model that WORK holds further with every method, and writes the
outputs of each method on the samples that are measured, and its seconds.

Methods have the settings of torchunlearn's README: SGD at a rate of 0.01 with momentum 0.9 and weight decay 5e-4, five
epochs, batches of 128. What a method needs beside those is torchunlearn's default.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torchunlearn
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchunlearn.unlearn import SCRUB, BadTeacher, Finetune, Influence, L1Sparse, NegGrad, RandomLabel, SalUn
from torchunlearn.utils.data import MergedLoaders

Loader: TypeAlias = "DataLoader[tuple[Tensor, ...]]"
OPTIMIZER, EPOCHS, BATCH = "SGD(lr=0.01, momentum=0.9, weight_decay=5e-4)", 5, 128
TRAINERS: dict[str, Callable[[torchunlearn.RobModel], torchunlearn.Trainer]] = {
    "Finetune": Finetune,
    "NegGrad": lambda model: NegGrad(model, retain_lambda=0.5),
    "RandomLabel": lambda model: RandomLabel(model, retain_lambda=0.5),
    "L1Sparse": L1Sparse,
    "SCRUB": SCRUB,
    "BadTeacher": BadTeacher,
    "SalUn": SalUn,
}


def build(work: dict[str, Any]) -> nn.Sequential:
    """Build the MLP of WORK, with its weights."""
    layers = [nn.Linear(*reversed(work[f"weight-{number}"].shape)) for number in (0, 1)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            layer.weight.copy_(torch.from_numpy(work[f"weight-{number}"]))
            layer.bias.copy_(torch.from_numpy(work[f"bias-{number}"]))
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def loaders(inputs: Tensor, labels: Tensor, is_forgotten: Tensor) -> dict[str, Loader]:
    """Return torchunlearn's two loaders."""
    parts = {"Retain": ~is_forgotten, "Forget": is_forgotten}
    return {
        name: DataLoader(TensorDataset(inputs[part], labels[part]), batch_size=BATCH, shuffle=True)
        for name, part in parts.items()
    }


def unlearn(name: str, model: torchunlearn.RobModel, data: dict[str, Loader]) -> None:
    """Unlearn in place with one method."""
    if name == "Influence":
        Influence(model).fit(data)
        return
    trainer = TRAINERS[name](model)
    if name == "SalUn":
        trainer.compute_saliency_mask(data["Forget"])
    trainer.setup(optimizer=OPTIMIZER, n_epochs=EPOCHS)
    trainer.fit(train_loaders=MergedLoaders(data), n_epochs=EPOCHS)


def main() -> None:
    torch.set_num_threads(1)
    work: dict[str, Any] = dict(np.load(sys.argv[1]))
    results: dict[str, Any] = {"version": np.array(torchunlearn.__version__)}
    inputs, labels, is_forgotten, measured = (
        torch.from_numpy(work[name]) for name in ("inputs", "labels", "is_forgotten", "measured")
    )
    data, classes = loaders(inputs, labels, is_forgotten), int(work["weight-1"].shape[0])
    for name in ("untouched", *TRAINERS, "Influence"):
        torch.manual_seed(int(work["seed"]))
        model = torchunlearn.RobModel(build(work), n_classes=classes)
        began_s = time.process_time()
        if name != "untouched":
            with contextlib.redirect_stdout(sys.stderr):
                unlearn(name, model, data)
        results[f"seconds-{name}"] = np.array(time.process_time() - began_s)
        with torch.no_grad():
            results[f"outputs-{name}"] = model.eval()(measured).numpy()
    np.savez(Path(sys.argv[2]), **results)


if __name__ == "__main__":
    main()
