"""Compute KLoM and margins with data-unlearning-bench, in an environment that has it and does not have raymu.

python klom_benchmark.py CHECKOUT MARGINS.npz adds `klom-NAME` for each `unlearned-NAME` and `oracles-NAME`, and `margins`.
"""

import runpy
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import torch


def main() -> None:
    checkout, path = sys.argv[1:]
    # The module's folders lead to the benchmark's models and their libraries, which the measure does not need.
    folders = ModuleType("unlearning_bench.paths")
    folders.__dict__.update(EVAL_DIR=None, DATA_DIR=None)
    sys.modules[folders.__name__] = folders
    published = SimpleNamespace(**runpy.run_path(f"{checkout}/unlearning_bench/eval.py"))
    arrays = dict(np.load(path))
    names = [name.removeprefix("unlearned-") for name in arrays if name.startswith("unlearned-")]
    results = {
        f"klom-{name}": published.kl_from_margins(
            torch.from_numpy(arrays[f"unlearned-{name}"]), torch.from_numpy(arrays[f"oracles-{name}"])
        )
        for name in names
    }
    logits, labels = (torch.from_numpy(arrays[name]) for name in ("logits", "labels"))
    results["margins"] = published.get_margins_from_multimodel_logits(logits[None], labels, "cpu")[0].numpy()
    np.savez(path, **results)


if __name__ == "__main__":
    main()
