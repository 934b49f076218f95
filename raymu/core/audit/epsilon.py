"""Lower bounds on the epsilon of differential privacy, from attacks on shadow models."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.audit.roc import clopper_pearson
from raymu.core.audit.signals import Confidences


def epsilon_bound(true_positives: int, models_in: int, false_positives: int, models_out: int) -> float:
    """Bound epsilon, at delta 0, from below by an attack's hits and false alarms (Jagielski et al., NeurIPS 2020).

    Each rate has a one-sided Clopper-Pearson bound, so that both bounds hold together with CONFIDENCE.

    Args:
        true_positives: Models trained on the sample that the attack calls so.
        models_in: Models trained on the sample.
        false_positives: Other models that the attack calls trained on it.
        models_out: Models not trained on the sample.
    """
    hits, alarms = clopper_pearson(true_positives, models_in).low, clopper_pearson(false_positives, models_out).high
    return max(0.0, _log_ratio(hits, alarms), _log_ratio(1.0 - alarms, 1.0 - hits))


def epsilon_ceiling(models_in: int, models_out: int) -> float:
    """Return the largest bound that these models can give: 1.35 for 16 of each kind, 2.8 for 64, 4.9 for 512."""
    return epsilon_bound(models_in, models_in, 0, models_out)


def epsilon_bounds(shadows: Confidences, is_in: Mask) -> npt.NDArray[np.float64]:
    """Bound the epsilon of each sample by attacks on the shadow models themselves.

    The attack calls a model trained on a sample if its confidence is on that side of the midpoint between the means of the
    other models that were and that were not; a model has no part in its own threshold. A bound holds for a sample that was
    chosen beforehand: the highest bound of many samples is too high for some.

    Args:
        shadows: (models, samples) confidences.
        is_in: (models, samples) whether a model was trained on a sample; at least two models of each kind.

    Returns:
        (samples,) float64.
    """
    mean_in = np.where(is_in, _mean_of_others(shadows, is_in), _mean(shadows, is_in))
    mean_out = np.where(is_in, _mean(shadows, ~is_in), _mean_of_others(shadows, ~is_in))
    is_called_in = (shadows - (mean_in + mean_out) / 2.0) * (mean_in - mean_out) > 0.0
    counts = [is_called_in & is_in, is_in, is_called_in & ~is_in, ~is_in]
    bound = cache(epsilon_bound)
    return np.array([bound(*sample) for sample in zip(*(count.sum(axis=0).tolist() for count in counts), strict=True)])


def _mean(shadows: Confidences, is_used: Mask) -> Confidences:
    return np.where(is_used, shadows, 0.0).sum(axis=0) / is_used.sum(axis=0)


def _mean_of_others(shadows: Confidences, is_used: Mask) -> Confidences:
    """(models, samples) mean over the other used models, for the models that are used."""
    total, count = np.where(is_used, shadows, 0.0).sum(axis=0), is_used.sum(axis=0)
    return (total - shadows) / np.maximum(count - 1, 1)


def _log_ratio(above: float, below: float) -> float:
    if above <= 0.0:
        return -math.inf
    return math.log(above / below) if below > 0.0 else math.inf
