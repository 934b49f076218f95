"""Scores of predictions that come part after part are those of all of them."""

import numpy as np
import pytest

from raymu.config import TargetName
from raymu.core.arrays import Probabilities, Targets
from raymu.core.scores import SCORE_SUMS, SCORES

RANDOM = np.random.default_rng(0)
SAMPLES = 301


def made(target: TargetName) -> tuple[Probabilities, Targets]:
    predictions = RANDOM.random(size=(SAMPLES, 3), dtype=np.float32)
    match target:
        case TargetName.CLASSES:
            return predictions, RANDOM.integers(3, size=SAMPLES)
        case TargetName.LABELS:
            return predictions, RANDOM.integers(2, size=(SAMPLES, 3)).astype(np.float32)
        case TargetName.REGRESSION:
            targets = predictions + RANDOM.normal(size=(SAMPLES, 3)) * 0.1 + 1000.0
            targets[:, 2] = 7.0  # never varies
            return predictions + np.float32(1000.0), targets.astype(np.float32)


@pytest.mark.parametrize("size", [1, 7, 100, SAMPLES])
@pytest.mark.parametrize("target", TargetName)
def test_the_score_of_parts_is_that_of_the_whole(target: TargetName, size: int) -> None:
    predictions, targets = made(target)
    sums = SCORE_SUMS[target]()
    for start in range(0, SAMPLES, size):
        sums.add(predictions[start : start + size], targets[start : start + size])
    whole = SCORES[target](predictions, targets)
    assert sums.score() == (pytest.approx(whole, rel=1e-9) if target is TargetName.REGRESSION else whole)
