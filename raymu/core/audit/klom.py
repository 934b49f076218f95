"""KLoM: the KL divergence of margins between models that forgot and retrained ones, for each sample.

The measure is that of Georgiev et al., *Attribute-to-Delete: Machine Unlearning via Datamodel Matching* (arXiv 2410.23232,
appendix E.1). The constants and the edges of the bins are those of the authors' data-unlearning-bench, so that figures can be
compared: the margin of a sample is the log odds of its true class, and the divergence is KL(unlearned || oracles).
"""

from dataclasses import dataclass

import numpy as np

from raymu.core.arrays import Floats
from raymu.core.audit.signals import Confidences

BINS = 20
"""Bins of equal width between the lowest and the highest margin of a sample, over all models of both sides."""
MOST_MARGIN = 100.0
"""Margins are clipped to within this distance of 0, in nats."""
LEAST_SHARE = 1e-5
"""Least share of the oracles in a bin that has unlearned models. A bin without oracles adds up to 11.5 nats."""
LEAST_DEVIATION = 0.05
"""Added to the standard deviations of margins, in nats. Such a difference moves no probability by more than 0.0125."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Klom:
    """The KLoM of some samples, in nats."""

    mean: float
    p95: float
    """95th percentile over the samples: the mean may hide a few that are remembered."""

    @classmethod
    def over(cls, divergences: Floats) -> "Klom":
        """Summarise. divergences: (samples,), at least one"""
        return cls(mean=float(divergences.mean()), p95=float(np.quantile(divergences, 0.95)))


def klom(unlearned: Confidences, oracles: Confidences) -> Floats:
    """Compute the binned KLoM of each sample.

    The last bin has no upper edge in it, as in the authors' code: the highest margin of a sample counts for neither side. If
    all unlearned models have that margin, the last bin is closed, where the authors' code has no result.

    A histogram of few models is mostly empty: two sets of 8 models of one distribution differ by 6 nats, of 32 by 1.6, and of
    100 by 0.3. Compare figures of equal numbers of models only, and read `gaussian_klom` if there are fewer than 32.

    Args:
        unlearned: (models, samples) margins of the models that forgot, in nats.
        oracles: (models, samples) margins of retrained models. Their seeds are not those of `unlearned`.

    Returns:
        (samples,) nats.
    """
    unlearned, oracles = (margins.clip(-MOST_MARGIN, MOST_MARGIN) for margins in (unlearned, oracles))
    low = np.minimum(unlearned.min(axis=0), oracles.min(axis=0))
    high = np.maximum(unlearned.max(axis=0), oracles.max(axis=0))
    edges = np.linspace(low, np.where(low < high, high, low + 1.0), BINS + 1)
    is_closed = (unlearned == high).all(axis=0) & (low < high)
    shares, oracle_shares = (_shares(margins, edges, is_closed) for margins in (unlearned, oracles))
    oracle_shares = np.where(shares > 0.0, oracle_shares.clip(min=LEAST_SHARE), oracle_shares)
    oracle_shares /= oracle_shares.sum(axis=0)
    logs = np.log(np.where(shares > 0.0, shares, 1.0)) - np.log(np.where(shares > 0.0, oracle_shares, 1.0))
    divergences: Floats = (shares * logs).sum(axis=0)
    return divergences


def gaussian_klom(unlearned: Confidences, oracles: Confidences) -> Floats:
    """Compute the KL divergence of two normal distributions that are fitted to the margins of each sample.

    Margins are nearly Gaussian over models, and two moments need far fewer models than twenty bins.

    Args:
        unlearned: (models, samples) margins of the models that forgot, in nats. At least two models.
        oracles: (models, samples) margins of retrained models.

    Returns:
        (samples,) nats.
    """
    deviation = unlearned.std(axis=0, ddof=1) + LEAST_DEVIATION
    oracle_deviation = oracles.std(axis=0, ddof=1) + LEAST_DEVIATION
    difference = unlearned.mean(axis=0) - oracles.mean(axis=0)
    divergences: Floats = (
        np.log(oracle_deviation / deviation) + (deviation**2 + difference**2) / (2.0 * oracle_deviation**2) - 0.5
    )
    return divergences


def _shares(margins: Confidences, edges: Floats, is_closed: Floats) -> Floats:
    """Return the share of the models in each bin, (BINS, samples): 0 in every bin if no model is in any."""
    reached = np.stack([(margins >= edge).sum(axis=0) for edge in edges])
    reached[-1] = np.where(is_closed, 0, reached[-1])
    counts = reached[:-1] - reached[1:]
    shares: Floats = counts / counts.sum(axis=0).clip(min=1)
    return shares
