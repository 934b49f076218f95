"""Does raymu's KLoM equal that of the public data-unlearning-bench?

Method: 100 samples are revoked from one shard of 8. As many models see them as do not, all with seeds of their own, and raymu
and the benchmark (RoyRin/data-unlearning-bench, MIT licence) compute the KLoM of every forgotten and unseen sample from the
same margins, and the margins of one model from the same logits. The benchmark is not a dependency: clone it, and name a
Python that has PyTorch, SciPy and tqdm. It takes a minute on the letter data.

Conclusion: the measure is the published one. Even two sets of exact retrainings have a divergence, which is the larger, the
fewer models there are: what counts is the ratio to the floor.
"""

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.harness import Experiment, add_data_options, document_parser, write_document
from experiments.markdown import count
from experiments.setups import audit_samples
from raymu.core.audit.klom import Klom, gaussian_klom, klom
from raymu.core.audit.signals import Confidences
from raymu.core.partition import derive_seed
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, train_model
from raymu.training.classifier import Classifier

MODELS = 32
REVOKED = 100


def train(samples: AuditSamples, kind: ModelKind, number: int) -> AuditedModel:
    """Train a model with a seed of its own."""
    spec = replace(samples.spec, seed=derive_seed(samples.spec.seed, kind, number))
    return train_model(replace(samples, spec=spec), kind, 0)


def benchmark(arguments: Mapping[str, str], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Let the benchmark compute KLoM and margins, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/margins.npz"
        np.savez(path, **arrays)
        script = str(Path(__file__).with_name("klom_benchmark.py"))
        command = [arguments["python"], script, arguments["checkout"], path]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
        return dict(np.load(path))


def logits_of(model: AuditedModel, samples: AuditSamples) -> np.ndarray:
    """Return (samples, classes)."""
    classifier = Classifier.restore(model.payload, samples.spec, device=torch.device("cpu"), source="the first model")
    with torch.no_grad():
        return torch.cat(list(classifier.outputs(samples.samples.features))).double().numpy()


def compare(unlearned: Confidences, oracles: Confidences, published: Confidences) -> dict[str, Any]:
    """Return the largest difference of a sample, and what raymu measured."""
    measured = klom(unlearned, oracles)
    binned, gaussian = Klom.over(measured), Klom.over(gaussian_klom(unlearned, oracles))
    return {
        "largest_difference": float(np.abs(measured - published).max()),
        "mean": round(binned.mean, 4),
        "p95": round(binned.p95, 4),
        "gaussian_mean": round(gaussian.mean, 4),
        "gaussian_p95": round(gaussian.p95, 4),
    }


def summary(result: Mapping[str, Any]) -> str:
    comparisons = result["comparisons"]
    difference = max(comparison["largest_difference"] for comparison in comparisons.values())
    forgotten, floor = comparisons["untouched"]["mean"], comparisons["floor"]["mean"]
    return (
        f"over {count(result['samples'])} samples and {result['models']} models a side, the largest difference is "
        f"{difference:.0e} nats; forgotten samples: {forgotten:.2f} untouched, {floor:.2f} at the floor"
    )


EXPERIMENT = Experiment(name="klom_agreement", doc=__doc__, results=("klom_agreement-letter.json",), summary=summary)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    add_data_options(parser)
    parser.add_argument("--python", required=True, help="the Python of an environment for the benchmark")
    parser.add_argument("--checkout", required=True, metavar="DIR", help="a clone of data-unlearning-bench")
    arguments = parser.parse_args()
    samples = audit_samples(arguments.data, arguments.data_folder, revoked=REVOKED)
    models = 4 if arguments.smoke else MODELS
    before = [train(samples, ModelKind.BEFORE, number) for number in range(models)]
    oracles = [train(samples, ModelKind.ORACLE, number) for number in range(2 * models)]
    untouched = np.stack([model.confidences for model in before])
    exact, others = (np.stack([model.confidences for model in kind]) for kind in (oracles[:models], oracles[models:]))
    is_forgotten, is_unseen = samples.is_forgotten, samples.is_unseen
    pairs = {
        "untouched": (untouched[:, is_forgotten], others[:, is_forgotten]),
        "floor": (exact[:, is_forgotten], others[:, is_forgotten]),
        "unseen": (untouched[:, is_unseen], others[:, is_unseen]),
    }
    arrays: dict[str, Any] = {"logits": logits_of(before[0], samples), "labels": samples.samples.labels}
    for name, (unlearned, retrained) in pairs.items():
        arrays |= {f"unlearned-{name}": unlearned, f"oracles-{name}": retrained}
    published = benchmark({"python": arguments.python, "checkout": arguments.checkout}, arrays)
    result = {
        "data": arguments.data,
        "samples": int((is_forgotten | is_unseen).sum()),
        "models": models,
        "largest_difference_of_margins": float(np.abs(published["margins"] - untouched[0]).max()),
        "comparisons": {name: compare(*pair, published[f"klom-{name}"]) for name, pair in pairs.items()},
    }
    write_document(f"{EXPERIMENT.name}-{arguments.data}.json", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
