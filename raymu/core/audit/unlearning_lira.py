"""U-LiRA: whether an attacker can tell models that forgot from retrained ones, by their confidences on the forget set.

The attack is that of Kurmanji et al. (NeurIPS 2023) and of Hayes et al., *Inexact Unlearning Needs More Careful Evaluations*
(2024), who fit distributions to each sample by itself.
"""

import numpy as np

from raymu.core.arrays import Floats
from raymu.core.audit.attacks import Gaussians
from raymu.core.audit.roc import CONFIDENCE, Estimate
from raymu.core.audit.signals import Confidences

DRAWS = 2000
"""Number of bootstrap draws of models."""


def unlearning_lira(unlearned: Confidences, oracles: Confidences, *, seed: int) -> Estimate:
    """Estimate the accuracy with which the attacker guesses, from one forgotten sample, the kind of a model.

    For each model and sample, normal distributions are fitted to the other models of each kind, and the guess is the likelier
    one. The model of the other kind with the same index is left out too, so that both kinds have equally many. An accuracy of
    0.5 is a guess by chance.

    The samples of one model depend on each other, so the interval is a bootstrap over models: samples are never drawn. Each
    model is guessed by fits to the others, so a chance difference of the two kinds helps or hurts all guesses alike. For
    this reason a draw has half of the models: with all, 95% intervals of two equal kinds contain 0.5 in 85% of cases.

    Args:
        unlearned: (models, samples) log odds of the models that forgot; at least three models, and at least one sample.
        oracles: (models, samples) log odds of retrained models, as many.
        seed: Seed of the draws.
    """
    if not unlearned.shape == oracles.shape or len(unlearned) < 3:
        raise ValueError(f"unlearned {unlearned.shape} and oracles {oracles.shape} must be three or more models each")
    hits = np.stack([_hits(index, unlearned, oracles) for index in range(len(unlearned))], axis=1)
    random = np.random.default_rng(seed)
    drawn = [kind[random.integers(len(kind), size=(DRAWS, len(kind) // 2))].mean(axis=1) for kind in hits]
    low, high = np.quantile(np.mean(drawn, axis=0), [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Estimate(value=float(hits.mean()), low=float(low), high=float(high))


def _hits(index: int, unlearned: Confidences, oracles: Confidences) -> Floats:
    """Return the shares of the samples whose guess is right, for the models of one index: (unlearned, oracle)."""
    is_used = np.ones(unlearned.shape, dtype=bool)
    is_used[index] = False
    fits = Gaussians.fit(unlearned, is_used), Gaussians.fit(oracles, is_used)
    margins = np.stack([unlearned[index], oracles[index]])
    ratios = fits[0].log_density(margins) - fits[1].log_density(margins)
    hits: Floats = np.stack([ratios[0] > 0.0, ratios[1] < 0.0]).mean(axis=1) + (ratios == 0.0).mean(axis=1) / 2.0
    return hits
