"""KLoM is that of the public benchmark, by values worked out by hand."""

import math

import numpy as np
import pytest

from raymu.core.audit.klom import BINS, LEAST_SHARE, Klom, gaussian_klom, klom


def column(*margins: float) -> np.ndarray:
    return np.array(margins)[:, None]


def test_equal_models_have_no_divergence() -> None:
    margins = np.random.default_rng(0).normal(size=(32, 7))
    assert klom(margins, margins) == pytest.approx(np.zeros(7), abs=1e-12)
    assert gaussian_klom(margins, margins) == pytest.approx(np.zeros(7), abs=1e-12)


def test_the_divergence_is_of_the_unlearned_shares_from_the_oracles() -> None:
    """The bins are 1 wide, and 20, the highest margin, counts for neither side."""
    unlearned, oracles = column(0.5, 0.6, 1.5, 0.0), column(0.7, 1.2, 1.3, 20.0)
    expected = 0.75 * math.log(0.75 / (1 / 3)) + 0.25 * math.log(0.25 / (2 / 3))
    assert klom(unlearned, oracles) == pytest.approx([expected])
    backwards = 1 / 3 * math.log((1 / 3) / 0.75) + 2 / 3 * math.log((2 / 3) / 0.25)
    assert klom(oracles, unlearned) == pytest.approx([backwards])


def test_a_bin_without_oracles_costs_the_least_share() -> None:
    """Half of the unlearned models are in the oracles' bin. The oracles' shares are scaled to 1 with the least share."""
    unlearned, oracles = column(0.0, 5.5, 0.1, 5.6), column(0.2, 0.3, 0.4, 20.0)
    expected = 0.5 * math.log(0.5) + 0.5 * math.log(0.5 / LEAST_SHARE) + math.log(1.0 + LEAST_SHARE)
    assert klom(unlearned, oracles) == pytest.approx([expected])


def test_margins_are_clipped() -> None:
    """At 100 the width of a bin is 5: clipped to it, 1000 leaves the others in bins of their own."""
    unlearned, oracles = column(0.0, 6.0, 1000.0), column(1.0, 7.0, 100.0)
    assert klom(unlearned, oracles) == pytest.approx([0.0], abs=1e-12)
    assert klom(column(0.0, 60.0, 99.0), column(1.0, 7.0, 1000.0))[0] > 1.0


@pytest.mark.parametrize("oracle", [3.0, 1.0])
def test_models_that_all_have_the_highest_margin_count(oracle: float) -> None:
    divergence = klom(column(3.0, 3.0), column(oracle, oracle))
    assert divergence == pytest.approx([0.0 if oracle == 3.0 else -math.log(LEAST_SHARE)], abs=1e-4)


def test_every_sample_has_its_own_bins() -> None:
    random = np.random.default_rng(1)
    unlearned, oracles = random.normal(size=(16, 5)), random.normal(size=(16, 5)) + 1.0
    together = klom(unlearned, oracles)
    for sample in range(5):
        alone = klom(unlearned[:, [sample]] * 3.0 + 7.0, oracles[:, [sample]] * 3.0 + 7.0)
        assert alone == pytest.approx(together[[sample]])
    assert BINS == 20


def test_the_gaussian_divergence_is_that_of_two_normal_distributions() -> None:
    unlearned, oracles = column(0.0, 1.9), column(3.0, 3.0 + 1.95 * math.sqrt(2.0))
    deviation, oracle_deviation = 1.9 / math.sqrt(2.0) + 0.05, 2.0
    difference = 0.95 - (3.0 + 1.95 / math.sqrt(2.0))
    expected = (
        math.log(oracle_deviation / deviation) + (deviation**2 + difference**2) / (2.0 * oracle_deviation**2) - 0.5
    )
    assert gaussian_klom(unlearned, oracles) == pytest.approx([expected])


def test_a_summary_has_the_tail_beside_the_mean() -> None:
    summary = Klom.over(np.concatenate([np.zeros(90), np.full(10, 5.0)]))
    assert summary.mean == pytest.approx(0.5)
    assert summary.p95 == pytest.approx(5.0)
