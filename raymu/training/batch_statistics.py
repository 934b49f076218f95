"""Statistics of batch norm, computed from given samples: after a patch, and for layers that keep none while they train."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raymu.training.classifier import Classifier
from raymu.training.encoder import PreparedSamples

_PART = 1024
"""Most samples of a batch whose statistics are averaged."""


def layers_without_statistics(model: nn.Module) -> list[_BatchNorm]:
    """List the batch-norm layers that normalise by each batch, in evaluation mode too (`track_running_stats=False`)."""
    return [layer for layer in batch_norm_layers(model) if not layer.track_running_stats]


def batch_norm_layers(model: nn.Module) -> list[_BatchNorm]:
    """List the batch-norm layers of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def compute_statistics(classifier: Classifier, layers: Sequence[_BatchNorm], samples: PreparedSamples) -> None:
    """Compute statistics of layers from samples, in evaluation mode otherwise.

    PyTorch's `swa_utils.update_bn` would run the whole model in training mode, and so with dropout, and would average over
    batches of unequal size. Layers without statistics get some: predictions use them, so that they do not depend on the other
    rows of a table, and training does not.

    Args:
        classifier: The mode of its model is given back.
        layers: Some of its batch-norm layers.
        samples: At least two.
    """
    model, device = classifier.model, classifier.device
    momenta, are_tracking = [layer.momentum for layer in layers], [layer.track_running_stats for layer in layers]
    was_training = [(module, module.training) for module in model.modules()]
    model.eval()  # dropout stays off
    for layer in layers:
        if not layer.track_running_stats:
            layer.track_running_stats = True
            layer.running_mean = torch.zeros(layer.num_features, device=device)
            layer.running_var = torch.ones(layer.num_features, device=device)
            layer.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
        layer.train()
    with torch.no_grad():
        for batch in samples.even_parts(min(_PART, classifier.evaluation_batch)):
            classifier.forward(batch)
    for layer, momentum, is_tracking in zip(layers, momenta, are_tracking, strict=True):
        layer.momentum, layer.track_running_stats = momentum, is_tracking
        if not is_tracking:
            layer.num_batches_tracked = None
    for module, mode in was_training:
        module.training = mode
