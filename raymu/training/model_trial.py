"""Trials of a model, before a run is created and before it is trained on a batch of some size: on samples of zeros."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.checkpoint_format import weights_sha256
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic
from raymu.training.model_state import ModelState, go_back, snapshot
from raymu.training.models import has_batch_norm
from raymu.training.randomness import random_state_kept, seed_everything
from raymu.training.spec import TrainingSpec

_CPU = torch.device("cpu")


def check_model(spec: TrainingSpec) -> bool:
    """Build the model twice, and try both out.

    Returns:
        Whether the model has batch norm.

    Raises:
        ConfigInvalid: The model cannot be built or trained, or the second differs from the first: a shard that is
            trained again must start as it started before.
    """
    hashes = set()
    for _ in range(2):
        with deterministic(_CPU, threads=1):  # one thread: a process that is forked later has no others
            seed_everything(0)
            classifier = Classifier.build(spec, device=_CPU)
            try_out(classifier, spec)
        model = classifier.model
        hashes.add(weights_sha256(dict(model.named_parameters()) | dict(model.named_buffers())))
    if len(hashes) > 1:
        raise ConfigInvalid(
            "model.factory: gives another model each time; let the global generators of torch, NumPy and random alone "
            "decide on it"
        )
    return has_batch_norm(classifier.trained)


def try_out(classifier: Classifier, spec: TrainingSpec) -> None:
    """Predict two samples of zeros, and compute the gradient of three. Raises ConfigInvalid if that fails."""
    model = classifier.model
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigInvalid("model: has no parameters to train")
    model.eval()
    with torch.no_grad():
        _outputs(classifier, spec, 2)
    model.train()
    outputs = _outputs(classifier, spec, 3)
    try:
        classifier.loss(outputs, classifier.target.blank(3, spec.classes)).backward()
    except Exception as error:  # whatever the model's own code raises
        raise ConfigInvalid(f"model: cannot be trained ({one_line(error)})") from error
    try:
        ModelState(model).tensors()
    except ValueError as error:
        raise ConfigInvalid(
            f"model: its extra state is not what checkpoints have, tensors and JSON: {error}; keep it in buffers"
        ) from error


def _outputs(classifier: Classifier, spec: TrainingSpec, samples: int) -> Tensor:
    try:
        outputs = classifier.forward(spec.blank(samples, _CPU))
    except (Exception, SystemExit) as error:  # whatever the model's own code raises
        mode = "in training " if classifier.model.training else ""
        raise ConfigInvalid(f"model: fails {mode}on samples of {_shapes(spec)} ({one_line(error)})") from error
    expected = (samples, spec.classes)
    if not isinstance(outputs, Tensor) or outputs.shape != expected or not outputs.is_floating_point():
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        noun = "logits" if classifier.target.has_membership else "numbers"
        raise ConfigInvalid(f"model: gives {shape} for {samples} samples; it must give {noun} of shape {expected}")
    return outputs


def _shapes(spec: TrainingSpec) -> str:
    if not spec.inputs:
        return f"shape {spec.input_shape}"
    return ", ".join(f"{name} {part.dtype} {part.shape}".strip() for name, part in spec.inputs.items())


def can_train_on(classifier: Classifier, spec: TrainingSpec, samples: int) -> bool:
    """Try a copy of a model in training on so many samples of zeros. The random state stays, and the model.

    Args:
        classifier: The model, its loss and its task.
        spec: Training as it is configured.
        samples: Samples of the batch.
    """
    device = classifier.device
    with torch.no_grad(), random_state_kept(device), _trial(classifier.model) as trial:
        try:
            numerics = classifier.numerics.eager()  # a copy would be compiled anew
            outputs = numerics.forward(classifier.task, trial.train(), spec.blank(samples, device))
            classifier.loss(outputs, classifier.target.blank(samples, spec.classes).to(device))
        except Exception:  # whatever the model's own code raises
            return False
    return bool(outputs.ndim == 2 and len(outputs) == samples and outputs.isfinite().all())


@contextmanager
def _trial(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of a model, or the model itself if it cannot be copied, and give its state back afterwards."""
    try:
        trial = copy.deepcopy(model)
    except Exception:  # such as a lock, or an open file
        state = snapshot(model)
        yield model
        go_back(model, state)
    else:
        yield trial
