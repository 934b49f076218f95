"""Does raymu's curvature agree with a published library's?

Method: three models are trained for one epoch on 2,000 samples of the letter data. raymu and curvlinops (MIT licence) each
multiply one vector by the Gauss-Newton matrix of these samples, and by the damped inverse of its Kronecker factors, which
both compute from the same drawn labels. The relative difference of the results should be that of float32. curvlinops is not a
dependency (`raymu.training.curvature` says why): install it in a separate environment, and give that environment's Python. It
takes a few seconds.

Conclusion: the curvature is the published one.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.harness import Experiment, add_data_options, document_parser, write_document
from experiments.setups import audit_samples
from raymu.training.classifier import Classifier
from raymu.training.curvature.gauss_newton import CHUNK, GaussNewton
from raymu.training.curvature.kfac import Kfac
from raymu.training.determinism import deterministic
from raymu.training.losses import CrossEntropy
from raymu.training.models import build_cnn, build_logistic, build_mlp
from raymu.training.targets import Classes

SAMPLES, BATCH, DAMPING = 2000, 64, 0.01


def models(features: int, classes: int) -> dict[str, nn.Module]:
    """Build one model of each kind of layer that has Kronecker factors."""
    return {
        "logistic": build_logistic((features,), classes),
        "mlp": build_mlp((features,), classes, hidden=[64]),
        "cnn": build_cnn((features,), classes, channels=[4, 8], hidden=32),
    }


def case_of(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Train a model for an epoch, and compute what the library is to compute again."""
    loss = CrossEntropy()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for batch, targets in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
        optimizer.zero_grad()
        loss(model(batch), targets).backward()
        optimizer.step()
    vector = torch.randn(sum(parameter.numel() for parameter in model.parameters()))
    classifier = Classifier.around(model, loss, classes=int(labels.max()) + 1)
    samples = classifier.prepared(inputs)
    kfac = Kfac(classifier, samples, damping=DAMPING, generator=torch.Generator().manual_seed(0))
    return {
        "model": model.eval(),
        "inputs": inputs,
        "labels": labels,
        "drawn_labels": _drawn_labels(model, inputs),
        "vector": vector,
        "damping": DAMPING,
        "product": GaussNewton(classifier, samples, labels).product(vector),
        "solution": kfac.solve(vector),
    }


def _drawn_labels(model: nn.Module, inputs: Tensor) -> Tensor:
    """Draw the labels that `Kfac` draws from a generator of seed 0."""
    generator, labels = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        for chunk in inputs.split(CHUNK):
            labels.append(Classes().draw(model(chunk), generator))
            torch.randint(0, 2, (len(chunk),), generator=generator)  # the signs
    return torch.cat(labels)


def summary(result: Mapping[str, Any]) -> str:
    differences = result["differences"].values()
    product, kfac = (max(each[name] for each in differences) for name in ("product", "kfac"))
    return (
        f"largest relative difference: {product:.0e} for products, {kfac:.0e} for Kronecker factors "
        f"(curvlinops {result['curvlinops']})"
    )


EXPERIMENT = Experiment(
    name="curvature_agreement", doc=__doc__, results=("curvature_agreement-letter.json",), summary=summary
)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    add_data_options(parser)
    parser.add_argument("--curvlinops", required=True, help="the Python of an environment that has curvlinops")
    arguments = parser.parse_args()
    samples = audit_samples(arguments.data, arguments.data_folder).samples
    count = 256 if arguments.smoke else SAMPLES
    inputs = torch.from_numpy(samples.features[:count]).float()
    inputs = (inputs - inputs.mean(dim=0)) / inputs.std(dim=0)
    labels = torch.from_numpy(samples.labels[:count])
    with deterministic(torch.device("cpu"), 1), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        built = models(inputs.shape[1], int(samples.labels.max()) + 1)
        path = f"{folder}/cases.pt"
        torch.save({name: case_of(model, inputs, labels) for name, model in built.items()}, path)
        script = str(Path(__file__).with_name("curvature_curvlinops.py"))
        output = subprocess.run(
            [arguments.curvlinops, script, path], check=True, capture_output=True, text=True, cwd=folder
        ).stdout
    agreement = json.loads(output)
    result = {
        "data": arguments.data,
        "samples": count,
        "curvlinops": agreement["version"],
        "differences": agreement["differences"],
    }
    write_document(f"{EXPERIMENT.name}-{arguments.data}.json", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
