"""How much single samples show, as the epsilon of differential privacy that shadow models rule out."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.audit.roc import clopper_pearson
from raymu.core.audit.signals import Confidences


def epsilon_bound(true_positives: int, models_in: int, false_positives: int, models_out: int) -> float:
    """What epsilon, at delta 0, is at least, by an attack's hits and false alarms (Jagielski et al., NeurIPS 2020).

    Each rate is bounded on one side by Clopper and Pearson, so that both bounds hold together with CONFIDENCE.
    """
    hits, alarms = clopper_pearson(true_positives, models_in).low, clopper_pearson(false_positives, models_out).high
    return max(0.0, _log_ratio(hits, alarms), _log_ratio(1.0 - alarms, 1.0 - hits))


def epsilon_ceiling(models_in: int, models_out: int) -> float:
    """The most that so many models can show, by an attack without an error: 1.35 for 16 of each, 2.8 for 64, 4.9 for 512."""
    return epsilon_bound(models_in, models_in, 0, models_out)


def epsilon_bounds(shadows: Confidences, is_in: Mask) -> npt.NDArray[np.float64]:
    """The bound of each sample, from attacks on the shadow models themselves.

    A model counts as trained on a sample where its confidence is on that side of the middle between the other models that
    were and those that were not: it has no part in what it is judged by. A bound holds for a sample that was chosen
    beforehand; the highest of many samples' bounds is too high for some.
    shadows, is_in: (models, samples), at least two models of each kind for each sample; returns: (samples,)
    """
    mean_in = np.where(is_in, _mean_of_others(shadows, is_in), _mean(shadows, is_in))
    mean_out = np.where(is_in, _mean(shadows, ~is_in), _mean_of_others(shadows, ~is_in))
    is_called_in = (shadows - (mean_in + mean_out) / 2.0) * (mean_in - mean_out) > 0.0
    counts = [is_called_in & is_in, is_in, is_called_in & ~is_in, ~is_in]
    bound = cache(epsilon_bound)
    return np.array([bound(*one) for one in zip(*(count.sum(axis=0).tolist() for count in counts), strict=True)])


def _mean(shadows: Confidences, is_used: Mask) -> Confidences:
    return np.where(is_used, shadows, 0.0).sum(axis=0) / is_used.sum(axis=0)


def _mean_of_others(shadows: Confidences, is_used: Mask) -> Confidences:
    """Of the used models but the one itself. returns: (models, samples); meaningful where it is used"""
    total, count = np.where(is_used, shadows, 0.0).sum(axis=0), is_used.sum(axis=0)
    return (total - shadows) / np.maximum(count - 1, 1)


def _log_ratio(above: float, below: float) -> float:
    if above <= 0.0:
        return -math.inf
    return math.log(above / below) if below > 0.0 else math.inf
