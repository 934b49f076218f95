from pathlib import Path

import numpy as np
import pytest

from raymu.core.prediction_change import FEWEST_SAMPLES, mean_change


def test_a_change_is_the_mean_absolute_difference() -> None:
    before = np.full(FEWEST_SAMPLES, 0.5)
    after = before + np.where(np.arange(FEWEST_SAMPLES) % 2, 0.25, -0.25)
    assert mean_change(before, after) == pytest.approx(0.25)


def test_too_few_samples_have_no_mean() -> None:
    few = np.full(FEWEST_SAMPLES - 1, 0.5)
    assert mean_change(few, few + 0.25) is None


@pytest.mark.parametrize("page", ["docs/formats/journal.md", "SECURITY.md", "raymu/report/templates/deadlines.html"])
def test_the_documented_number_of_samples_is_the_fewest(page: str) -> None:
    text = (Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    assert f"fewer than {FEWEST_SAMPLES}" in text or f"{FEWEST_SAMPLES} samples or more" in text
